"""How compressions and budgets are described, and how they reach nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.topology import Topology
from export.compress import mildest
from export.compression import LADDER, Budget, Compression, by_node, ladder, parse_size, planned

POSTER = Topology.load("poster-residual")


@given(
    sparsity=st.integers(0, 99).map(lambda p: p / 100),
    clusters=st.sampled_from([0, 3, 16, 256]),
    quantize=st.sampled_from(["none", "float16", "dynamic", "int8"]),
    qat=st.booleans(),
    coarse=st.booleans(),
)
def test_what_is_written_reads_as_itself(
    sparsity: float, clusters: int, quantize: str, qat: bool, coarse: bool
) -> None:
    kind = "int8" if qat or coarse else quantize
    one = Compression(sparsity, clusters, qat, kind, coarse)  # type: ignore[arg-type]
    assert Compression.parse(str(one)) == one


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Compression(sparsity=1.0), "sparsity from 0 to below 1, got 1.0"),
        (lambda: Compression(clusters=1), "clusters from 2 to 256, got 1"),
        (lambda: Compression(sparsity=0.5, clusters=2), "clusters from 3 to 256, got 2"),
        (lambda: Compression(qat=True), "quantization-aware training is for int8, got"),
        (lambda: Compression(coarse=True), "coarse scales are for int8, got quantize='none'"),
        (lambda: Compression(quantize="int4"), "unknown quantization 'int4'"),  # type: ignore[arg-type]
        (lambda: Compression(steps=0), "steps of at least 1, got 0"),
        (lambda: Compression(learning_rate=0), "learning_rate above 0, got 0"),
        (lambda: Compression.parse("pruned:much+int8"), "cannot read 'pruned:much'"),
        (lambda: Compression.parse("int8:3"), "cannot read 'int8:3'"),
        (lambda: parse_size("64 parsecs"), "a size such as 64KB, 64KiB or 2000, got '64 parsecs'"),
        (lambda: parse_size("-1KB"), "a size such as"),
        (lambda: by_node({"egde*": 1}, POSTER), "'egde\\*' names no node and no tier; .* edge1"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "size"),
    [("64KB", 64_000), ("64KiB", 65_536), ("1.5MB", 1_500_000), ("2000", 2000), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_nodes_are_named_by_pattern_by_tier_and_by_name_and_the_last_one_holds() -> None:
    found = by_node({"edge*": 1, "fog": 2, "fog3": 3}, POSTER)
    assert found == {
        **{node.name: 1 for node in POSTER.nodes if node.name.startswith("edge")},
        **{node.name: 2 for node in POSTER.nodes if node.tier == "fog"},
        "fog3": 3,
    }
    assert "cloud" not in found


def test_a_node_has_a_compression_or_a_budget() -> None:
    int8 = Compression(quantize="int8")
    found = planned(POSTER, int8, {"cloud": Compression()}, Budget({"edge*": 10}))
    assert found.levels["cloud"] == (Compression(),)
    assert found.levels["fog1"] == (int8,)
    assert found.levels["edge1"] == ladder("raw")
    assert found.stored == "raw"
    assert set(found.limits) == {n for n in POSTER.order if n.startswith("edge")}
    with pytest.raises(InputError, match=r"edge1, .*: a compression and a budget were given"):
        planned(POSTER, int8, {"edge": int8}, Budget({"edge*": 10}))


def test_only_packed_artifacts_are_pruned_for_a_budget() -> None:
    assert [str(level) for level in ladder("raw")] == [
        "float32",
        "float16",
        "int8",
        "int8+coarse",
    ]
    assert ladder("zstd") == LADDER
    assert LADDER[: len(ladder("raw"))] == ladder("raw")


@given(
    sizes=st.lists(st.integers(1, 100), min_size=len(LADDER), max_size=len(LADDER)),
    budget=st.integers(1, 100),
)
def test_the_mildest_that_fits_is_taken_and_no_other_is_made(sizes: list[int], budget: int) -> None:
    made: list[Compression] = []

    def size(level: Compression) -> int:
        made.append(level)
        return sizes[LADDER.index(level)]

    fits = [i for i, n in enumerate(sizes) if n <= budget]
    if fits:
        assert mildest("edge1", budget, LADDER, size) == LADDER[fits[0]]
        assert made == list(LADDER[: fits[0] + 1])
    else:
        best = LADDER[sizes.index(min(sizes))]
        with pytest.raises(InputError) as caught:
            mildest("edge1", budget, LADDER, size)
        assert "'edge1'" in str(caught.value)
        assert f"smallest is {min(sizes)} bytes as .tflite ({best})" in str(caught.value)
