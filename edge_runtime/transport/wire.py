"""Messages between nodes, as bytes: a small versioned header, and tensors as payload.

The header is one byte of version, then a msgpack array (`_Header`, `_Tensor`). The payload is the
tensors' bytes, one after another, C order, little endian. Equal messages have equal bytes.

Payload encodings, chosen by the sender, tensor by tensor in the header:

    raw        any dtype of `DTYPES`, as it is
    float16    of a float32 tensor: off by at most 2^-11 of each value, or 2^-25 if that is more
    int8       of a float32 tensor: q = round(x / step), step = max|x| / 127; off by at most step/2
               (and float32's own rounding). Zeros stay exactly zero.

A float32 tensor that an encoding cannot hold (NaN, infinity; beyond 65504 for float16) is sent raw.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from ..arrays import Array
from ..errors import InputError

VERSION = 2
#: Bytes of a fingerprint's short form.
FINGERPRINT = 8

Encoding = Literal["raw", "float16", "int8"]

_Code = Literal["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
#: What a tensor may hold, by the code that stands for it in a header.
DTYPES: dict[str, np.dtype[Any]] = {
    code: np.dtype(f"<{code}")
    for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_FLOAT32 = DTYPES["f4"]
#: How a float32 tensor lies in the payload.
_STORED = {"float16": DTYPES["f2"], "int8": DTYPES["i1"]}
#: A step below float32's normal numbers would lose digits of its own; also the step of all zeros.
_LEAST_STEP = float(np.finfo(np.float32).tiny)
_MOST = float(np.finfo(np.float32).max)

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Size = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class WireError(ValueError):
    """Bytes that are no message of this version, or a message that cannot be put into bytes."""


class Limits(msgspec.Struct, frozen=True):
    """What a receiver accepts. `payload_bytes` also bounds the tensors once decoded."""

    header_bytes: int = 4096
    payload_bytes: int = 1 << 24
    tensors: int = 64


DEFAULT_LIMITS = Limits()


class Message(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One node's output for one frame, the same on each of its outgoing links.

    `tensors`: of one frame, without a batch axis; none at all marks a silent node, or with
    `answered` says that the frame has an early answer and nobody need compute it. `state`: the
    delivered-links state, bit i for the topology's link i. `age_ns`: since capture, as far as
    the nodes' own clocks know it. `sent_ns`: the sender's monotonic clock when it took that age;
    0 where it does not say. `wall_ns`: the wall clock at capture, for people only. `target`: the
    node addressed; empty for every receiver that has the link.
    """

    frame: int
    sender: str
    incarnation: int
    fingerprint: bytes
    state: int
    age_ns: int
    sent_ns: int = 0
    wall_ns: int = 0
    target: str = ""
    tensors: tuple[Array, ...] = ()
    answered: bool = False

    @property
    def silent(self) -> bool:
        """Whether its sender had nothing to compute from."""
        return not (self.tensors or self.answered)

    def unpack(self) -> tuple[Array, ...]:
        """The tensors, as of a message that is still `Sealed`."""
        return self.tensors


class _Tensor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    code: _Code
    shape: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=8)]
    encoding: Encoding
    step: float

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values once unpacked."""
        return DTYPES[self.code]


class _Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    frame: _Count
    sender: _Name
    target: Annotated[str, msgspec.Meta(max_length=128)]
    incarnation: _Count
    fingerprint: Annotated[bytes, msgspec.Meta(min_length=FINGERPRINT, max_length=FINGERPRINT)]
    state: Annotated[bytes, msgspec.Meta(max_length=512)]
    age_ns: _Count
    sent_ns: _Count
    wall_ns: _Count
    silent: bool
    answered: bool
    tensors: tuple[_Tensor, ...]


class Sealed(msgspec.Struct, frozen=True, eq=False):
    """A message whose bytes have been checked and whose payload has not been touched.

    It has the fields of a `Message`; `tensors` say `shape` and `dtype` of what `unpack` gives. Most
    of what is dropped is dropped for what stands in its header, and so costs no more than that.
    """

    frame: int
    sender: str
    incarnation: int
    fingerprint: bytes
    state: int
    age_ns: int
    sent_ns: int
    wall_ns: int
    target: str
    tensors: tuple[_Tensor, ...]
    answered: bool
    payload: bytes

    def unpack(self) -> tuple[Array, ...]:
        """The tensors; read-only views of `payload` where they can be."""
        arrays: list[Array] = []
        offset = 0
        for tensor in self.tensors:
            array, offset = _unpack(tensor, self.payload, offset)
            arrays.append(array)
        return tuple(arrays)


_PREFIX = bytes([VERSION])
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(_Header).decode


def short_fingerprint(fingerprint: str) -> bytes:
    """The 8 bytes by which messages name a model, of its hexadecimal fingerprint."""
    try:
        short = bytes.fromhex(fingerprint[: 2 * FINGERPRINT])
    except ValueError:
        short = b""
    if len(short) != FINGERPRINT:
        raise InputError(
            f"expected a model fingerprint of at least {2 * FINGERPRINT} hexadecimal digits, got "
            f"{fingerprint!r}; export the bundle again"
        )
    return short


def encode(message: Message, encoding: Encoding = "raw") -> tuple[bytes, bytes]:
    """Header and payload of a message.

    `encoding` is applied to its float32 tensors. Raises `WireError` for a field out of range, links
    of a message without tensors, tensors of one that says answered, or a tensor of a dtype that
    the wire does not know.
    """
    tensors: list[_Tensor] = []
    parts: list[bytes] = []
    for array in message.tensors:
        code = _CODES.get(array.dtype)
        if code is None or not array.size:
            raise WireError(
                f"expected tensors of {', '.join(d.name for d in DTYPES.values())} that are not "
                f"empty, got {array.dtype} {array.shape} from {message.sender!r}"
            )
        used, step = "raw", 0.0
        if encoding != "raw" and array.dtype == _FLOAT32:
            array, used, step = _pack(array, encoding)
        tensors.append(_Tensor(code, array.shape, used, step))  # type: ignore[arg-type]
        parts.append(array.tobytes())
    if message.state and not tensors:
        raise WireError(
            f"a message without tensors delivers no links, got state {message.state:#x}"
        )
    if message.answered and tensors:
        raise WireError("a message that says answered has no tensors")
    numbers = (
        message.frame,
        message.incarnation,
        message.state,
        message.age_ns,
        message.sent_ns,
        message.wall_ns,
    )
    if min(numbers) < 0:
        raise WireError(
            "expected frame, incarnation, state, age and clocks from 0, got "
            + ", ".join(map(str, numbers))
        )
    try:
        header = _ENCODE(
            _Header(
                message.frame,
                message.sender,
                message.target,
                message.incarnation,
                message.fingerprint,
                message.state.to_bytes((message.state.bit_length() + 7) // 8, "little"),
                message.age_ns,
                message.sent_ns,
                message.wall_ns,
                message.silent,
                message.answered,
                tuple(tensors),
            )
        )
    except OverflowError as error:
        raise WireError(f"a number of the message needs more than 64 bits: {error}") from error
    return _PREFIX + header, parts[0] if len(parts) == 1 else b"".join(parts)


def decode(header: bytes, payload: bytes, limits: Limits = DEFAULT_LIMITS) -> Message:
    """The message in these bytes; its tensors are read-only views of `payload` where they can be.

    Raises `WireError`, and nothing else, for whatever is not a message within `limits`. Nothing
    is allocated for tensors before all sizes have been checked.
    """
    sealed = read_header(header, payload, limits)
    return Message(
        frame=sealed.frame,
        sender=sealed.sender,
        incarnation=sealed.incarnation,
        fingerprint=sealed.fingerprint,
        state=sealed.state,
        age_ns=sealed.age_ns,
        sent_ns=sealed.sent_ns,
        wall_ns=sealed.wall_ns,
        target=sealed.target,
        tensors=sealed.unpack(),
        answered=sealed.answered,
    )


def read_header(header: bytes, payload: bytes, limits: Limits = DEFAULT_LIMITS) -> Sealed:
    """The message in these bytes, its payload as it came; refuses what `decode` does."""
    if not 1 < len(header) <= limits.header_bytes:
        raise WireError(f"expected a header of 2 to {limits.header_bytes} bytes, got {len(header)}")
    if header[0] != VERSION:
        raise WireError(f"expected wire version {VERSION}, got {header[0]}")
    try:
        head = _DECODE(memoryview(header)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"malformed header: {error}") from error
    if head.silent + head.answered + bool(head.tensors) != 1:
        raise WireError("expected one of tensors, silent and answered")
    if not head.tensors and any(head.state):
        raise WireError("expected no links of a message without tensors")
    _check_sizes(head.tensors, len(payload), limits)
    return Sealed(
        head.frame,
        head.sender,
        head.incarnation,
        head.fingerprint,
        int.from_bytes(head.state, "little"),
        head.age_ns,
        head.sent_ns,
        head.wall_ns,
        head.target,
        head.tensors,
        head.answered,
        payload,
    )


def rounded(tensor: Array, encoding: Encoding) -> Array:
    """What a receiver gets of one frame's tensor that is sent in an encoding."""
    if encoding == "raw" or tensor.dtype != _FLOAT32:
        return tensor
    packed, used, step = _pack(tensor, encoding)
    head = _Tensor("f4", tensor.shape, used, step)
    return _unpack(head, packed.tobytes(), 0)[0]


def _pack(array: Array, encoding: Encoding) -> tuple[Array, Encoding, float]:
    """What is sent of a float32 tensor, how it is encoded, and int8's step."""
    largest = max(float(array.max()), -float(array.min()))
    if not math.isfinite(largest):
        return array, "raw", 0.0
    if encoding == "float16":
        # 65520 is where rounding to the nearest float16 becomes infinity.
        return (array.astype("<f2"), encoding, 0.0) if largest < 65520 else (array, "raw", 0.0)
    step = np.float32(max(largest / 127, _LEAST_STEP))
    if 127 * float(step) > _MOST:
        step = np.nextafter(step, np.float32(0))
    return np.clip(np.rint(array / step), -127, 127).astype("i1"), encoding, float(step)


def _unpack(tensor: _Tensor, payload: bytes, offset: int) -> tuple[Array, int]:
    """A tensor whose bytes begin at `offset`, and where they end."""
    stored = tensor.dtype if tensor.encoding == "raw" else _STORED[tensor.encoding]
    count = math.prod(tensor.shape)
    array: Array = np.frombuffer(payload, stored, count, offset)
    end = offset + count * stored.itemsize
    if tensor.encoding != "raw":
        # What a sender never packs (-128, a signalling NaN) may overflow; it is not ours to warn.
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(np.float32)
            if tensor.encoding == "int8":
                array *= np.float32(tensor.step)
    elif not array.flags.aligned:
        array = array.copy()
    return array.reshape(tensor.shape), end


def _check_sizes(tensors: tuple[_Tensor, ...], got: int, limits: Limits) -> None:
    if len(tensors) > limits.tensors:
        raise WireError(f"expected at most {limits.tensors} tensors, got {len(tensors)}")
    expected = decoded = 0
    for tensor in tensors:
        count = math.prod(tensor.shape)
        dtype = tensor.dtype
        stored = dtype
        if tensor.encoding != "raw":
            stored = _STORED[tensor.encoding]
            if dtype != _FLOAT32:
                raise WireError(f"encoding {tensor.encoding} is of float32, got {dtype}")
            if tensor.encoding == "int8" and not _LEAST_STEP <= tensor.step <= _MOST / 127:
                raise WireError(f"expected a step that float32 can hold, got {tensor.step}")
        decoded += count * dtype.itemsize
        expected += count * stored.itemsize
    if max(expected, decoded) > limits.payload_bytes or got > limits.payload_bytes:
        raise WireError(f"expected at most {limits.payload_bytes} bytes of tensors")
    if got != expected:
        raise WireError(f"expected a payload of {expected} bytes, got {got}")
