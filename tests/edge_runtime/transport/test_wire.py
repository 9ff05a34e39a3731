from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.transport.wire import (
    DTYPES,
    VERSION,
    Encoding,
    Limits,
    Message,
    WireError,
    decode,
    encode,
    short_fingerprint,
)

counts = st.integers(0, 2**63 - 1)
names = st.text(min_size=1, max_size=20)


@st.composite
def arrays(draw: st.DrawFn, *codes: str) -> Array:
    """Any bits, in any order of axes."""
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=4)))
    dtype = DTYPES[draw(st.sampled_from(codes or sorted(DTYPES)))]
    size = int(np.prod(shape)) * dtype.itemsize
    bits = draw(st.binary(min_size=size, max_size=size))
    return np.frombuffer(bits, dtype).reshape(shape).transpose()


@st.composite
def messages(draw: st.DrawFn) -> Message:
    tensors = tuple(draw(st.lists(arrays(), max_size=3)))
    return Message(
        frame=draw(counts),
        sender=draw(names),
        incarnation=draw(counts),
        fingerprint=draw(st.binary(min_size=8, max_size=8)),
        state=draw(st.integers(0, 2**300)) if tensors else 0,
        age_ns=draw(counts),
        sent_ns=draw(counts),
        wall_ns=draw(counts),
        target=draw(st.text(max_size=20)),
        tensors=tensors,
        answered=not tensors and draw(st.booleans()),
    )


def plain(message: Message) -> list[Any]:
    """What can be compared: bits, not numbers, of which NaN equals nothing."""
    fields = [getattr(message, name) for name in message.__struct_fields__ if name != "tensors"]
    return [*fields, [(t.dtype, t.shape, t.tobytes()) for t in message.tensors]]


def example(**changes: Any) -> Message:
    fields: dict[str, Any] = {
        "frame": 7,
        "sender": "edge1",
        "incarnation": 1,
        "fingerprint": b"12345678",
        "state": 3,
        "age_ns": 10**6,
        "tensors": (np.arange(6, dtype=np.float32).reshape(2, 3),),
    }
    return Message(**{**fields, **changes})


@given(messages())
def test_a_message_survives_bit_by_bit(message: Message) -> None:
    header, payload = encode(message)
    got = decode(header, payload)
    assert plain(got) == plain(message)
    assert got.silent == (not message.tensors and not message.answered)
    assert len(payload) == sum(t.nbytes for t in message.tensors)


@given(messages(), st.sampled_from(["raw", "float16", "int8"]))
def test_equal_messages_have_equal_bytes(message: Message, encoding: Encoding) -> None:
    copied = tuple(np.array(t, order="F") for t in message.tensors)
    again = msgspec.structs.replace(message, tensors=copied)
    assert encode(again, encoding) == encode(message, encoding)


@given(arrays("f4"))
def test_int8_is_off_by_half_a_step_and_zeros_stay_zeros(array: Array) -> None:
    assume(np.isfinite(array).all())
    header, payload = encode(example(tensors=(array,)), "int8")
    [got] = decode(header, payload).tensors
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert len(payload) == array.size
    exact = array.astype(np.float64)
    step = max(np.abs(exact).max() / 127, float(np.finfo(np.float32).tiny))
    assert np.abs(got - exact).max() <= step / 2 * (1 + 1e-4)
    assert np.isfinite(got).all()
    assert (got[array == 0] == 0).all()


@given(arrays("f4"))
def test_float16_is_off_by_half_a_digit(array: Array) -> None:
    assume((np.abs(array) <= 65504).all())
    header, payload = encode(example(tensors=(array,)), "float16")
    [got] = decode(header, payload).tensors
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert len(payload) == 2 * array.size
    exact = array.astype(np.float64)
    assert (np.abs(got - exact) <= np.maximum(np.abs(exact) * 2.0**-11, 2.0**-25)).all()


@pytest.mark.parametrize("encoding", ["float16", "int8"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_an_encoding_cannot_hold_is_sent_raw(encoding: Encoding, odd: float) -> None:
    odd_one = np.array([1, odd], np.float32)
    others = np.array([1, 2], np.float32), np.array([300], np.int16)
    message = example(tensors=(odd_one, *others))
    header, payload = encode(message, encoding)
    got = decode(header, payload).tensors
    assert got[0].tobytes() == odd_one.tobytes()
    np.testing.assert_allclose(got[1], others[0], rtol=0.01)
    assert got[2] == 300, "only float32 is encoded"


def test_float16_sends_raw_what_it_would_make_infinite() -> None:
    array = np.array([65504, 65519, 65520, 3e38], np.float32)
    for i, raw in enumerate([False, False, True, True]):
        header, payload = encode(example(tensors=(array[i : i + 1],)), "float16")
        assert len(payload) == (4 if raw else 2)
        assert np.isfinite(decode(header, payload).tensors[0]).all()


def test_a_raw_tensor_is_not_copied() -> None:
    header, payload = encode(example())
    [got] = decode(header, payload).tensors
    assert not got.flags.owndata
    assert not got.flags.writeable


def test_a_tensor_behind_an_odd_number_of_bytes_is_aligned_again() -> None:
    message = example(tensors=(np.ones(3, np.uint8), np.ones(2)))
    assert all(t.flags.aligned for t in decode(*encode(message)).tensors)


def test_a_header_is_small() -> None:
    header, payload = encode(
        example(
            incarnation=10**18, sent_ns=10**15, wall_ns=10**18, frame=10**9, state=(1 << 21) - 1
        )
    )
    assert len(header) < 100
    assert len(payload) == 24


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"tensors": (np.array(["a"]),)}, "expected tensors of float16, float32"),
        ({"tensors": (np.ones(2, ">f4"),)}, "expected tensors of"),
        ({"tensors": (np.ones((2, 0), np.float32),)}, "not empty"),
        ({"tensors": ()}, "delivers no links, got state 0x3"),
        ({"tensors": (), "answered": True}, "delivers no links, got state 0x3"),
        ({"answered": True}, "says answered has no tensors"),
        ({"frame": -1}, "from 0, got -1"),
        ({"age_ns": -5}, "got 7, 1, 3, -5"),
        ({"frame": 2**64}, "more than 64 bits"),
    ],
)
def test_what_cannot_be_sent_is_refused(changes: dict[str, Any], fragment: str) -> None:
    with pytest.raises(WireError, match=fragment):
        encode(example(**changes))


def header_of(*fields: Any, tensors: Any = (("f4", (2, 3), "raw", 0.0),)) -> bytes:
    """A header with some fields replaced, as another program might write it."""
    default = (7, "edge1", "", 1, b"12345678", b"\x03", 10**6, 0, 0, False, False, tensors)
    values = [*fields, *default[len(fields) :]]
    return bytes([VERSION]) + msgspec.msgpack.encode(values)


def test_the_forged_header_is_otherwise_well_formed() -> None:
    assert plain(decode(header_of(), encode(example())[1])) == plain(example())


@pytest.mark.parametrize(
    ("header", "fragment"),
    [
        (b"", "header of 2 to 4096 bytes, got 0"),
        (b"\x01" * 5000, "got 5000"),
        (b"\x01" + header_of()[1:], "wire version 2, got 1"),
        (header_of()[:-1], "malformed header: Input data was truncated"),
        (header_of() + b"\x00", "malformed header"),
        (header_of(-1), "`int` >= 0 - at `\\$\\[0\\]`"),
        (header_of(2**63), "malformed header"),
        (header_of(7, ""), "length >= 1"),
        (header_of(7, "x" * 129), "length <= 128"),
        (header_of(7, "edge1", "", 1, b"short"), "length >= 8"),
        (header_of(7, "edge1", "", 1, b"12345678", b"x" * 513), "length <= 512"),
        (header_of(7, "edge1", "", 1, b"12345678", b"", 0, 0, 0, True), "one of tensors, silent"),
        (header_of(7, "e", "", 1, b"12345678", b"\x01", 0, 0, 0, True, False, ()), "no links"),
        (header_of(7, "e", "", 1, b"12345678", b"\x01", 0, 0, 0, False, True, ()), "no links"),
        (header_of(7, "e", "", 1, b"12345678", b"", 0, 0, 0, True, True, ()), "one of tensors"),
        (header_of(7, "e", "", 1, b"12345678", b"", 0, 0, 0, False, True), "one of tensors"),
        (header_of(tensors=()), "expected one of tensors"),
        (header_of(tensors=[("c8", (3,), "raw", 0.0)]), "Invalid enum value 'c8'"),
        (header_of(tensors=[("f4", (3,), "zip", 0.0)]), "Invalid enum value 'zip'"),
        (header_of(tensors=[("f4", (2, -3), "raw", 0.0)]), ">= 1"),
        (header_of(tensors=[("f4", (2, 0), "raw", 0.0)]), ">= 1"),
        (header_of(tensors=[("f4", (1,) * 9, "raw", 0.0)]), "length <= 8"),
        (header_of(tensors=[("f4", (2**62, 2**62), "raw", 0.0)]), "at most 16777216 bytes"),
        (header_of(tensors=[("f4", (2, 2), "raw", 0.0)]), "payload of 16 bytes, got 24"),
        (header_of(tensors=[("f4", (7,), "raw", 0.0)]), "payload of 28 bytes, got 24"),
        (header_of(tensors=[("u1", (24,), "int8", 1.0)]), "int8 is of float32, got uint8"),
        (header_of(tensors=[("f4", (24,), "int8", 0.0)]), "a step that float32 can hold, got 0"),
        (header_of(tensors=[("f4", (24,), "int8", float("nan"))]), "got nan"),
        (header_of(tensors=[("f4", (24,), "int8", 1e300)]), r"got 1e\+300"),
        (header_of(tensors=[("f4", (1,), "raw", 0.0)] * 65), "at most 64 tensors, got 65"),
    ],
)
def test_what_is_no_message_is_refused(header: bytes, fragment: str) -> None:
    with pytest.raises(WireError, match=fragment):
        decode(header, encode(example())[1])


def test_limits_hold_for_what_is_sent_and_for_what_it_becomes() -> None:
    header, payload = encode(example(tensors=(np.ones(100, np.float32),)), "int8")
    assert decode(header, payload, Limits(payload_bytes=400)).tensors[0].nbytes == 400
    with pytest.raises(WireError, match="at most 399 bytes"):
        decode(header, payload, Limits(payload_bytes=399))


def test_a_mark_is_a_header_alone() -> None:
    header, payload = encode(example(tensors=(), state=0, answered=True))
    assert (len(header) < 100, payload) == (True, b"")
    got = decode(header, payload)
    assert (got.answered, got.silent, got.tensors) == (True, False, ())
    silent = decode(*encode(example(tensors=(), state=0)))
    assert (silent.answered, silent.silent) == (False, True)


def test_a_fingerprint_is_shortened() -> None:
    assert short_fingerprint("0123456789abcdef" + "f" * 48) == bytes.fromhex("0123456789abcdef")
    for wrong in ("", "0123", "x" * 64):
        with pytest.raises(InputError, match="at least 16 hexadecimal digits"):
            short_fingerprint(wrong)
