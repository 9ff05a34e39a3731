import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.arrays import TensorSpec
from edge_runtime.bundle.manifest import (
    BUNDLE_FILE,
    MODEL_FILE,
    NODE_FILE,
    BundleManifest,
    IncomingLink,
    NodeManifest,
    ReliabilityTable,
    encode,
    fingerprint,
    read_bundle,
    read_node,
)
from edge_runtime.errors import InputError
from edge_runtime.files import sha256
from edge_runtime.task import Classification
from tests.reference import small_topology

Plain = dict[str, Any]
MODELS = {node: sha256(node.encode()) for node in small_topology().order}
FINGERPRINT = fingerprint(small_topology(), Classification(("a", "b")), MODELS.values())


def node_manifest(name: str) -> NodeManifest:
    topology = small_topology()
    bit = {link.name: i for i, link in enumerate(topology.links)}
    answers = name == topology.output
    return NodeManifest(
        node=name,
        tier=topology.node(name).tier,
        fingerprint=FINGERPRINT,
        quantization="none",
        incoming=tuple(
            IncomingLink(source=x.source, bit=bit[x.name], sensor=x.source in topology.sensor_names)
            for x in topology.incoming(name)
        ),
        outgoing=tuple(x.target for x in topology.outgoing(name)),
        inputs={x.source: TensorSpec((3,), "float32") for x in topology.incoming(name)},
        outputs=(TensorSpec((2,), "float32"),),
        files={MODEL_FILE: MODELS[name]},
        tolerance=1e-5,
        budget=0.5,
        task=Classification(("a", "b"), (0.75, 0.25)) if answers else None,
        reliability=table() if answers else None,
    )


def table() -> ReliabilityTable:
    return ReliabilityTable(samples=4, states={"0": 0.75, "1f": 1.0}, expected={"low": 0.8})


@dataclass
class Folder:
    """A bundle's descriptions on disk, with a way to change one of them."""

    path: Path

    def write(self) -> None:
        hashes = {}
        for node in small_topology().nodes:
            file = self.path / "nodes" / node.name / NODE_FILE
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(node_manifest(node.name)))
            hashes[node.name] = sha256(file.read_bytes())
        manifest = BundleManifest(
            fingerprint=FINGERPRINT,
            topology=small_topology(),
            task=Classification(("a", "b"), (0.75, 0.25)),
            quantization="none",
            reliability=table(),
            nodes=hashes,
        )
        (self.path / BUNDLE_FILE).write_bytes(encode(manifest))

    def edit(self, file: str, change: Callable[[Plain], object], *, hashed: bool = True) -> None:
        """Change a description; `hashed` also gives the manifest its new hash."""
        path = self.path / file
        plain = json.loads(path.read_text())
        change(plain)
        path.write_text(json.dumps(plain))
        if hashed and file != BUNDLE_FILE:
            digest = sha256(path.read_bytes())
            self.edit(BUNDLE_FILE, lambda m: m["nodes"].update({path.parent.name: digest}))


@pytest.fixture
def bundle(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "bundle")
    folder.write()
    return folder


LEFT = f"nodes/left/{NODE_FILE}"


def test_what_is_written_is_read_back_the_same(bundle: Folder) -> None:
    manifest, nodes = read_bundle(bundle.path)
    assert manifest.topology == small_topology()
    assert manifest.task == Classification(("a", "b"), (0.75, 0.25))
    assert manifest.reliability == table()
    assert nodes == {n.name: node_manifest(n.name) for n in small_topology().nodes}
    assert read_node(bundle.path / "nodes" / "top") == node_manifest("top")
    assert nodes["top"].senders == ("left", "right", "cam0")
    assert (bundle.path / LEFT).read_bytes().startswith(b"{\n"), "a person may want to read it"


FAULTS: dict[str, tuple[str, Callable[[Plain], object], str]] = {
    "newer bundle": (BUNDLE_FILE, lambda m: m.update(schema=3), r"schema 2, got 3 \(at \$.schema"),
    "older bundle": (BUNDLE_FILE, lambda m: m.update(schema=1), r"schema 2, got 1 \(at \$.schema"),
    "bundle without schema": (BUNDLE_FILE, lambda m: m.pop("schema"), "schema 2, got None"),
    "newer node": (LEFT, lambda m: m.update(schema=3, more=1), r"schema 2, got 3 \(at \$.schema"),
    "a budget of more than all": (LEFT, lambda m: m.update(budget=1.5), r"<= 1.0 .*\$.budget"),
    "unknown field": (BUNDLE_FILE, lambda m: m.update(extra=1), "unknown field `extra`"),
    "unknown field of a node": (LEFT, lambda m: m.update(extra=1), "unknown field `extra`"),
    "unknown field of a link": (
        LEFT,
        lambda m: m["incoming"][0].update(extra=1),
        r"unknown field `extra` - at `\$.incoming\[0\]`",
    ),
    "missing field": (LEFT, lambda m: m.pop("files"), "missing required field `files`"),
    "wrong type": (LEFT, lambda m: m["incoming"][0].update(bit="x"), r"at `\$.incoming\[0\].bit`"),
    "unknown quantization": (
        BUNDLE_FILE,
        lambda m: m.update(quantization="int4"),
        r"Invalid enum value 'int4' - at `\$.quantization`",
    ),
    "faulty topology": (
        BUNDLE_FILE,
        lambda m: m["topology"]["nodes"][1].update(survival=2),
        r"from 0 to 1, got 2.0 \(at \$.nodes\[1\].survival\).* at `\$.topology`",
    ),
    "newer topology": (
        BUNDLE_FILE,
        lambda m: m["topology"].update(schema=2),
        r"topology schema 1, got 2 .* at `\$.topology`",
    ),
    "node missing from the list": (
        BUNDLE_FILE,
        lambda m: m["nodes"].pop("left"),
        r"expected nodes left, right, top, got right, top \(at \$.nodes\)",
    ),
    "too few priors": (
        BUNDLE_FILE,
        lambda m: m["task"]["prior"].pop(),
        r"a prior for each of 2 names, got 1: .* at `\$.task`",
    ),
    "an unknown task": (
        BUNDLE_FILE,
        lambda m: m["task"].update(kind="guess"),
        r"Invalid value 'guess' - at `\$.task.kind`",
    ),
    "another node's folder": (LEFT, lambda m: m.update(node="right"), "expected node 'left'"),
    "another model's node": (
        LEFT,
        lambda m: m.update(fingerprint="0" * 64),
        f"expected node 'left' of model {FINGERPRINT[:12]}, got 'left' of 000000000000",
    ),
    "another survival": (
        BUNDLE_FILE,
        lambda m: m["topology"]["nodes"][1].update(survival=0.5),
        r"survival values or artifacts are not those that were exported \(at \$.fingerprint",
    ),
    "another survivability": (
        BUNDLE_FILE,
        lambda m: m["topology"]["survivabilities"]["low"].update(left=0.5),
        r"not those that were exported \(at \$.fingerprint",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_the_file_and_its_place_in_it(fault: str, bundle: Folder) -> None:
    file, change, message = FAULTS[fault]
    bundle.edit(file, change)
    with pytest.raises(InputError, match=message) as caught:
        read_bundle(bundle.path)
    assert str(bundle.path / file) in str(caught.value)
    assert "export" in str(caught.value)


def test_an_edited_node_is_refused_by_its_hash(bundle: Folder) -> None:
    bundle.edit(LEFT, lambda m: m.update(tolerance=1.0), hashed=False)
    with pytest.raises(InputError, match=r"left/node.json: expected sha256 .*was edited"):
        read_bundle(bundle.path)


@pytest.mark.parametrize("file", [BUNDLE_FILE, LEFT])
def test_a_missing_file_is_named(file: str, bundle: Folder) -> None:
    (bundle.path / file).unlink()
    with pytest.raises(InputError, match="cannot be read") as caught:
        read_bundle(bundle.path)
    assert str(bundle.path / file) in str(caught.value)


def test_a_folder_that_is_no_bundle_or_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest.json: cannot be read.*that export wrote"):
        read_bundle(tmp_path)
    with pytest.raises(InputError, match=r"node.json: cannot be read.*that export wrote"):
        read_node(tmp_path / "none")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b'{"schema": "\xff"}', b"[" * 100_000]
)
def test_a_broken_description_is_refused(content: bytes, bundle: Folder) -> None:
    (bundle.path / BUNDLE_FILE).write_bytes(content)
    (bundle.path / LEFT).write_bytes(content)
    with pytest.raises(InputError, match=BUNDLE_FILE):
        read_bundle(bundle.path)
    with pytest.raises(InputError, match=NODE_FILE):
        read_node(bundle.path / "nodes" / "left")


@settings(max_examples=300)
@given(data=st.data())
def test_a_mutated_description_is_read_or_refused_and_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mutated")
    content = bytearray(encode(node_manifest("top")))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content) - 1))
        length = data.draw(st.integers(0, 8))
        content[start : start + length] = data.draw(st.binary(max_size=8))
    (path / NODE_FILE).write_bytes(bytes(content))
    try:
        read_node(path)
    except InputError as error:
        message = str(error)
    else:
        message = str(path)
    shutil.rmtree(path)
    assert str(path) in message
