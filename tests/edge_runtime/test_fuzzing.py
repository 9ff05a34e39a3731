"""Mutated messages and manifests: the typed error or a value, never anything else.

10^4 of each here; `DDNN_FUZZ=1000000` for more messages (a tenth as many manifests, but 10^4 at
least). The mutant of a failure is in its report, as a literal.
"""

import contextlib
import json
import os
import random
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from edge_runtime.arrays import TensorSpec
from edge_runtime.bundle.manifest import (
    BUNDLE_FILE,
    NODE_FILE,
    BundleManifest,
    IncomingLink,
    NodeManifest,
    ReliabilityTable,
    encode,
    read_bundle,
    read_node,
)
from edge_runtime.errors import InputError
from edge_runtime.files import sha256
from edge_runtime.node.assembler import FrameAssembler
from edge_runtime.task import Classification
from edge_runtime.transport.wire import VERSION, Encoding, Limits, Message, WireError, decode
from edge_runtime.transport.wire import encode as encode_message
from tests.reference import small_topology

COUNT = int(os.environ.get("DDNN_FUZZ", "10000"))
MANIFESTS = max(10_000, COUNT // 10)
LIMITS = Limits(payload_bytes=1 << 16)

T = TypeVar("T")


def mutate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """One to four byte-level accidents."""
    mutant = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(mutant) + 1)
        match rng.randrange(7):
            case 0 if mutant:
                mutant[at % len(mutant)] ^= 1 << rng.randrange(8)
            case 1 if mutant:
                mutant[at % len(mutant)] = rng.choice([0, 0x7F, 0x80, 0xC1, 0xFF, 0xDF, 0xC6])
            case 2:
                del mutant[at:]
            case 3:
                del mutant[at : at + rng.randrange(1, 9)]
            case 4:
                mutant[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 5:
                cut = rng.randrange(len(other) + 1)
                mutant[at:] = other[cut:]
            case 6:
                piece = rng.randrange(1, 17)
                mutant[at:at] = mutant[at : at + piece] * rng.randrange(1, 20)
    return bytes(mutant)


def told(mutants: Iterator[T], count: int, what: str) -> Iterator[T]:
    """The same, with a line for each tenth of them: `pytest -s` shows how far it is."""
    for number, mutant in enumerate(mutants, 1):
        yield mutant
        if number % (count // 10) == 0:
            print(f"  {number:,} {what}", flush=True)


# -- messages ------------------------------------------------------------------------------------


def messages() -> list[tuple[bytes, bytes]]:
    """Well-formed ones, of every kind, to start from."""
    rng = np.random.default_rng(0)
    kinds: list[tuple[tuple[Any, ...], Encoding]] = [
        ((), "raw"),
        ((rng.normal(size=8).astype(np.float32),), "raw"),
        ((rng.normal(size=(2, 3)).astype(np.float32), np.zeros((), np.float32)), "float16"),
        ((rng.normal(size=(4, 4, 2)).astype(np.float32), np.arange(9, dtype=np.uint8)), "int8"),
        ((rng.integers(0, 255, (3, 5)).astype(np.int64), np.ones(3)), "raw"),
    ]
    mark: tuple[tuple[Any, ...], Encoding] = ((), "raw")
    return [
        encode_message(
            Message(
                frame=1 << (5 * i),
                sender="edge1",
                incarnation=1_700_000_000_000_000_000,
                fingerprint=b"model-01",
                state=((1 << 90) - 1) * bool(tensors),
                age_ns=12_345_678,
                sent_ns=10**14,
                target="fog1" if i % 2 else "",
                tensors=tensors,
                answered=i == len(kinds),
            ),
            encoding,
        )
        for i, (tensors, encoding) in enumerate([*kinds, mark])
    ]


def mutants(count: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    rng = random.Random(seed)
    whole = messages()
    for _ in range(count):
        (header, payload), (other, _) = rng.choice(whole), rng.choice(whole)
        match rng.randrange(8):
            case 0:
                yield rng.randbytes(rng.randrange(120)), payload
            case 1:
                yield bytes([VERSION]) + rng.randbytes(rng.randrange(120)), payload
            case 2:
                yield header, mutate(rng, payload, other)
            case _:
                yield mutate(rng, header, other), payload


def test_a_mutated_message_is_refused_or_is_another_message() -> None:
    refused = 0
    for header, payload in told(mutants(COUNT, 0), COUNT, "messages read"):
        try:
            message = decode(header, payload, LIMITS)
        except WireError:
            refused += 1
        except BaseException as error:
            error.add_note(f"decode({header!r}, {payload!r})")
            raise
        else:
            assert sum(t.nbytes for t in message.tensors) <= LIMITS.payload_bytes
            assert [message.silent, message.answered, bool(message.tensors)].count(True) == 1
    print(f"  {refused:,} of {COUNT:,} were refused, the others are messages")
    assert COUNT // 2 < refused < COUNT


def test_a_node_counts_every_mutant_and_goes_on() -> None:
    specs = {"edge1": TensorSpec((8,), "float32")}
    assembler = FrameAssembler(
        "fog1",
        [IncomingLink(source="edge1", bit=3, sensor=False)],
        specs,
        budget_ns=10**7,
        deadline_ns=10**8,
        fingerprint=b"model-01",
        start_ns=0,
    )
    heard = told(mutants(COUNT // 10, 1), COUNT // 10, "messages heard by a node")
    for now, (header, payload) in enumerate(heard, 10**9):
        assembler.hear("edge1", header, payload, now)
        assert len(assembler.open_frames) <= 64
    counters = assembler.counters
    held = sum(assembler.open_frames.values())
    assert counters.received == counters.used + counters.dropped + held == COUNT // 10
    assert counters.malformed > 0


def peak(run: Callable[[], object]) -> int:
    """The most bytes that were allocated at once."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_mutant_allocates_what_it_only_claims() -> None:
    def run() -> None:
        for header, payload in mutants(2000, 2):
            with contextlib.suppress(WireError):
                decode(header, payload, LIMITS)

    assert peak(run) < 4 << 20


# -- manifests -----------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, -0.5, 1e308, "", "x" * 300, "\ud800", "..",
    "a/b", "cam0", [], {}, [[]], [0], [-1], [2**62] * 9, {"": {}},
]  # fmt: skip


def node_manifest(name: str) -> NodeManifest:
    topology = small_topology()
    top = name == topology.output
    table = ReliabilityTable(samples=4, states={"0": 0.75, "1f": 1.0}, expected={"low": 0.8})
    return NodeManifest(
        node=name,
        tier=topology.node(name).tier,
        fingerprint="f" * 64,
        quantization="none",
        incoming=tuple(
            IncomingLink(source=x.source, bit=i, sensor=x.source in topology.sensor_names)
            for i, x in enumerate(topology.links)
            if x.target == name
        ),
        outgoing=tuple(x.target for x in topology.outgoing(name)),
        inputs={x.source: TensorSpec((3,), "float32") for x in topology.incoming(name)},
        outputs=(TensorSpec((2,), "float32"),),
        files={"model.tflite": "0" * 64},
        tolerance=1e-5,
        budget=0.9,
        task=Classification(("a", "b"), (0.75, 0.25)) if top else None,
        reliability=table if top else None,
    )


def bundle(folder: Path) -> bytes:
    """Writes the descriptions of a small bundle; returns its manifest."""
    hashes = {}
    for node in small_topology().nodes:
        file = folder / "nodes" / node.name / NODE_FILE
        file.parent.mkdir(parents=True)
        file.write_bytes(encode(node_manifest(node.name)))
        hashes[node.name] = sha256(file.read_bytes())
    manifest = BundleManifest(
        fingerprint="f" * 64,
        topology=small_topology(),
        task=Classification(("a", "b"), (0.75, 0.25)),
        quantization="none",
        nodes=hashes,
    )
    (folder / BUNDLE_FILE).write_bytes(encode(manifest))
    return (folder / BUNDLE_FILE).read_bytes()


def replaced(rng: random.Random, value: Any) -> Any:
    """The same JSON but for one value somewhere, or one key."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        match rng.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, rng.choice(["", "extra", key + "x"]): rng.choice(ODD)}
            case _:
                return {**value, key: replaced(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        i = rng.randrange(len(value))
        match rng.randrange(6):
            case 0:
                return value[:i] + value[i + 1 :]
            case 1:
                return value[:i] + value[i:] * 2
            case _:
                return [*value[:i], replaced(rng, value[i]), *value[i + 1 :]]
    return rng.choice(ODD)


def manifest_mutants(original: bytes, other: bytes, count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    plain = json.loads(original)
    for _ in range(count):
        if rng.random() < 0.5:
            yield mutate(rng, original, other)
        else:
            changed = replaced(rng, plain)
            for _ in range(rng.choice([0, 0, 1, 3])):
                changed = replaced(rng, changed)
            yield json.dumps(changed, ensure_ascii=rng.random() < 0.5).encode(
                errors="surrogatepass"
            )


def check_refusal(read: Callable[[Path], object], file: Path, mutants: Iterator[bytes]) -> int:
    refused = taken = number = 0
    with warnings.catch_warnings():
        # That a residual link skips nothing is a warning, and no fault.
        warnings.simplefilter("ignore")
        for mutant in mutants:
            number += 1
            file.write_bytes(mutant)
            try:
                read(file.parent)
            except InputError as error:
                refused += str(file.parent) in str(error)
            except BaseException as error:
                error.add_note(f"{file.name}: {mutant!r}")
                raise
            else:
                taken += 1
    assert refused + taken == number, "each refusal names the place"
    return refused


@pytest.mark.parametrize("kind", [NODE_FILE, BUNDLE_FILE])
def test_a_mutated_manifest_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    whole = bundle(tmp_path)
    folder = tmp_path / "nodes" / "top" if kind == NODE_FILE else tmp_path
    file = folder / kind
    original, read = file.read_bytes(), read_node if kind == NODE_FILE else read_bundle
    count = MANIFESTS // 2
    mutants = told(manifest_mutants(original, whole, count, 0), count, f"of {kind} read")
    refused = check_refusal(read, file, mutants)
    print(f"  {refused:,} of {count:,} were refused")
    assert count // 2 < refused <= count


def test_no_manifest_takes_more_memory_than_its_size_explains(tmp_path: Path) -> None:
    whole = bundle(tmp_path)
    mutants = list(manifest_mutants(whole, whole, 1000, 1))
    assert peak(lambda: check_refusal(read_bundle, tmp_path / BUNDLE_FILE, iter(mutants))) < 4 << 20


@pytest.mark.parametrize(
    "mutant",
    [
        b"[" * 100_000,
        b'{"schema": 1, "topology": ' + b'{"a":' * 50_000,
        b'{"schema": ' + b"9" * 10_000 + b"}",
        b'{"schema": 1, "fingerprint": "\xff\xfe"}',
        b'{"schema": 1e999}',
        b"",
        b"null",
    ],
)
def test_what_hurts_other_readers_is_refused(tmp_path: Path, mutant: bytes) -> None:
    bundle(tmp_path)
    assert check_refusal(read_bundle, tmp_path / BUNDLE_FILE, iter([mutant])) == 1
