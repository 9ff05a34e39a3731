from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.answers.policies import candidates, highest_first
from edge_runtime.topology import Topology
from tests.strategies import topologies

states = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 31))


def test_the_posters_nodes_from_the_top() -> None:
    topology = Topology.load("poster-residual").with_exits()
    assert highest_first(topology) == (
        *("cloud", "fog4", "fog3", "fog1", "fog2"),
        *("edge4", "edge3", "edge2", "edge1"),
    )


@given(topology=topologies(exits=True))
def test_the_output_node_is_the_highest_of_those_that_answer(topology: Topology) -> None:
    ranking = highest_first(topology)
    assert ranking[0] == topology.output
    assert sorted(ranking) == sorted(topology.answering)


@given(found=states)
def test_a_state_within_another_one_is_no_maximal_one(found: dict[str, int]) -> None:
    chosen = candidates("maximal", found, "abcdef")
    bits = {name: {i for i in range(5) if state >> i & 1} for name, state in found.items()}
    available = {name for name, state in bits.items() if state}
    assert set(chosen) == {n for n in available if not any(bits[n] < bits[m] for m in available)}
    assert bool(chosen) == bool(available)
    assert set(candidates("confident", found, "abcdef")) == available


@given(found=states, ranking=st.permutations("abcdef"))
def test_highest_and_priority_take_the_first_that_has_an_answer(
    found: dict[str, int], ranking: list[str]
) -> None:
    for policy in ("highest", "priority"):
        chosen = candidates(policy, found, ranking)
        assert chosen == tuple(n for n in ranking if found.get(n))[:1]
