import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.answers.records import Answer, Smoothed
from edge_runtime.clock import SECOND, FrameClock
from edge_runtime.errors import InputError
from edge_runtime.evaluation.answering import state_keys
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.failures.configurations import enumerate_configurations, output_states
from edge_runtime.failures.distribution import mask_without
from edge_runtime.samples import Samples
from edge_runtime.testbed.replay import Replay, read_answers
from edge_runtime.testbed.run import (
    Configuration,
    FixedSchedule,
    Phase,
    RandomSchedule,
    Record,
    check_survival,
)
from edge_runtime.testbed.run_report import RunEvaluator, RunReport, judge
from edge_runtime.topology import Topology
from edge_runtime.topology.reading import decode_yaml
from tests.commands import Deployed
from tests.reference import small_topology

#: Ten frames per second, from the beginning of the clock; a deadline of half a frame.
CLOCK, FRAME = FrameClock(0, 10, 1), SECOND // 10
DEADLINE = FRAME // 2


@pytest.fixture
def samples(small_deployed: Deployed) -> Samples:
    return Samples.load_npz(small_deployed.test)


@pytest.fixture
def replay(small_deployed: Deployed, samples: Samples) -> Replay:
    return Replay(Bundle(small_deployed.bundle), samples.inputs)


def converged_state(topology: Topology, down: frozenset[str]) -> int:
    [state], _ = state_keys(output_states(topology, mask_without(topology, sorted(down))[None]))
    return state


def ideal(it: Deployed, replay: Replay, samples: Samples, frame: int, state: int) -> Answer:
    """What a deployment without a fault answers."""
    probabilities = replay.values(frame, state)
    return Answer(
        frame=frame,
        answer=samples.class_names[int(probabilities.argmax())],
        probabilities=tuple(round(float(p), 6) for p in probabilities),
        confidence=float(probabilities.max()),
        node=it.topology.output,
        state=f"{state:x}",
        nodes=(),
        age_ms=2.0,
        score=None,
        score_name="accuracy",
        fallback=state == 0,
        waited=False,
    )


def ideal_run(
    it: Deployed, replay: Replay, samples: Samples, configurations: list[Configuration], hold: int
) -> Record:
    """A run that converges in no time: `hold` frames each, one frame between them."""
    record = Record(it.topology, CLOCK, DEADLINE, first=3)
    frame = record.first
    for configuration in configurations:
        begins = CLOCK.begins(frame)
        record.phases.append(Phase(begins - DEADLINE, configuration.down, converged=False))
        record.phases.append(Phase(begins - 1, configuration.down, converged=True))
        frames = list(range(frame, frame + hold))
        state = converged_state(it.topology, configuration.down)
        for f in frames:
            record.answers[f] = ideal(it, replay, samples, f, state)
        record.holds.append(frames)
        record.counted += frames
        frame += hold + 1
    record.last = record.counted[-1]
    return record


def judged(record: Record, replay: Replay, samples: Samples, plan: Any) -> RunReport:
    return judge(record, replay, samples.labels, plan)


# -- agreement -------------------------------------------------------------------------------------


@pytest.fixture
def run(small_deployed: Deployed, replay: Replay, samples: Samples) -> Record:
    held = [Configuration(frozenset(down)) for down in ((), {"left"}, {"top"}, {"right"})]
    return ideal_run(small_deployed, replay, samples, held, hold=len(samples))


def test_a_run_without_a_fault(run: Record, replay: Replay, samples: Samples) -> None:
    found = judged(run, replay, samples, FixedSchedule(()))
    count = len(samples)
    assert (found.frames, found.answered, found.answerable) == (4 * count, 3 * count, 3 * count)
    assert (found.agreement, found.mixed_frames, found.unanswered) == (1.0, 0, 0)
    assert found.deadline_misses == 0
    assert found.latency_ms == {"p50": 2.0, "p99": 2.0}
    assert found.configurations == 4
    assert found.transition_frames == 3
    assert found.measured_score == found.expected_score
    assert found.interval == pytest.approx((found.measured_score, found.measured_score))


def test_smoothed_answers_are_counted_apart(run: Record, replay: Replay, samples: Samples) -> None:
    plain = judged(run, replay, samples, FixedSchedule(()))
    assert plain.smoothed_score is None
    wrong = run.counted[:5]
    for frame, answer in run.answers.items():
        place = (int(samples.labels[frame % len(samples)]) + (frame in wrong)) % 3
        smoothed = Smoothed(samples.class_names[place], (0.5, 0.5))
        run.answers[frame] = msgspec.structs.replace(answer, smoothed=smoothed)
    found = judged(run, replay, samples, FixedSchedule(()))
    assert found.smoothed_score == pytest.approx(1 - 5 / len(run.counted))
    assert msgspec.structs.replace(found, smoothed_score=None) == plain


@pytest.mark.parametrize("plan", [FixedSchedule(()), RandomSchedule("low")])
def test_parts_are_judged_as_the_whole_is(
    run: Record, replay: Replay, samples: Samples, plan: Any
) -> None:
    judging = RunEvaluator(replay, samples.labels, plan)
    # Answers that were heard and not taken are judged as well.
    wrong = [msgspec.structs.replace(a, state="1") for a in run.answers.values()]
    run.received = [*run.answers.values(), *wrong]
    whole = judged(run, replay, samples, plan)
    assert whole.mixed_frames == len(wrong)
    for hold in tuple(run.holds[:-1]):
        part = run.split(hold[-1] + 1)
        assert (part.last, part.holds) == (hold[-1], [hold])
        judging.take(part)
    # What was drained is kept no more.
    assert (len(run.holds), len(run.counted)) == (1, len(samples))
    assert len(run.phases) <= 3
    judging.take(run)
    found = judging.verdict()
    assert found.interval == pytest.approx(whole.interval)
    same = {"interval": whole.interval, "expected_score": whole.expected_score}
    assert found.expected_score == pytest.approx(whole.expected_score)
    assert msgspec.structs.replace(found, **same) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"state": "1"},
        {"state": "fff"},
        {"state": "-1"},
        {"state": "everything"},
        {"state": ""},
        {"probabilities": (0.1, 0.2, 0.7)},
        {"probabilities": (1.0,)},
        {"answer": "bicycle"},
    ],
)
def test_an_answer_that_its_state_does_not_give_is_not_confirmed(
    run: Record, replay: Replay, samples: Samples, change: dict[str, Any]
) -> None:
    changed = msgspec.structs.replace(run.answers[run.first], **change)
    assert not replay.confirms(changed)


def test_an_answer_of_another_frame_is_mixed(run: Record, replay: Replay, samples: Samples) -> None:
    frame = run.first
    run.answers[frame] = msgspec.structs.replace(run.answers[frame + 1], frame=frame)
    found = judged(run, replay, samples, FixedSchedule(()))
    assert found.mixed_frames == 1
    assert found.agreement == 1 - 1 / len(run.answers)


def test_a_class_that_is_not_the_most_probable_is_not_confirmed(
    run: Record, replay: Replay, samples: Samples
) -> None:
    answer = run.answers[run.first]
    other = next(name for name in samples.class_names if name != answer.answer)
    assert replay.confirms(answer)
    assert not replay.confirms(msgspec.structs.replace(answer, answer=other))


def test_what_is_missing_or_late(run: Record, replay: Replay, samples: Samples) -> None:
    first = run.first
    del run.answers[first]
    run.answers[first + 1] = msgspec.structs.replace(run.answers[first + 1], age_ms=51.0)
    found = judged(run, replay, samples, FixedSchedule(()))
    assert (found.unanswered, found.deadline_misses) == (1, 2)
    assert found.answered == found.answerable - 1


def test_an_unanswered_frame_counts_as_the_fallbacks_class(
    run: Record, replay: Replay, samples: Samples
) -> None:
    run.answers.clear()
    found = judged(run, replay, samples, FixedSchedule(()))
    fallback = replay.values(0, 0).argmax()
    assert found.measured_score == pytest.approx(float((samples.labels == fallback).mean()))
    assert found.agreement == 1.0
    assert found.latency_ms == {"p50": None, "p99": None}


def test_a_run_without_frames(small_deployed: Deployed, replay: Replay, samples: Samples) -> None:
    record = Record(small_deployed.topology, CLOCK, DEADLINE, first=3, last=2)
    record.phases.append(Phase(0, frozenset(), converged=True))
    found = judged(record, replay, samples, ())
    assert (found.frames, found.measured_score, found.interval) == (0, None, None)


# -- accuracy --------------------------------------------------------------------------------------


def test_the_expectation_of_drawn_configurations_is_the_exact_one(
    small_deployed: Deployed, replay: Replay, samples: Samples
) -> None:
    # Each hold shows all samples once, so that nothing is left of the choice of frames.
    topology, bundle = small_deployed.topology, Bundle(small_deployed.bundle)
    drawing = RandomSchedule("low", seed=1)
    drawn = drawing.configurations(topology)
    held = [next(drawn) for _ in range(40)]
    run = ideal_run(small_deployed, replay, samples, held, hold=len(samples))
    found = judged(run, replay, samples, drawing)
    exact = evaluate(
        topology,
        bundle,
        samples,
        bundle.manifest.task,
        {"low": "low"},
    )
    assert found.expected_score == pytest.approx(exact.expected_accuracy("low"))
    weights = exact.configurations.probabilities("low")
    deviation = math.sqrt(weights @ (exact.scores - exact.expected_accuracy("low")) ** 2)
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] == pytest.approx(
        2 * 3.2905 * deviation / math.sqrt(40)
    )
    assert found.measured_score is not None
    assert found.interval[0] <= found.measured_score <= found.interval[1]


def test_the_interval_holds_as_often_as_it_says(
    small_deployed: Deployed, replay: Replay, samples: Samples
) -> None:
    # Holds of few frames of data that are sorted by class: the frames shown must not matter.
    order = np.argsort(samples.labels, kind="stable")
    data = samples.take(order)
    topology = small_deployed.topology
    again = Replay(Bundle(small_deployed.bundle), data.inputs)
    outside = 0
    for seed in range(60):
        drawn = RandomSchedule("low", seed=seed).configurations(topology)
        held = [next(drawn) for _ in range(30)]
        run = ideal_run(small_deployed, again, data, held, hold=3)
        found = judged(run, again, data, RandomSchedule("low", seed=seed))
        assert found.interval is not None
        assert found.measured_score is not None
        outside += not found.interval[0] <= found.measured_score <= found.interval[1]
    assert outside <= 1


def test_a_scheduled_runs_interval_is_what_its_transitions_leave_open(
    small_deployed: Deployed, replay: Replay, samples: Samples
) -> None:
    record = Record(small_deployed.topology, CLOCK, DEADLINE, first=0, last=9)
    record.counted = list(range(10))
    state = converged_state(small_deployed.topology, frozenset())
    record.answers = {f: ideal(small_deployed, replay, samples, f, state) for f in range(10)}
    left = frozenset({"left"})
    record.phases = [
        Phase(-1, frozenset(), converged=True),
        Phase(CLOCK.begins(4) + 1, left, converged=False),
        Phase(CLOCK.begins(6) + 1, left, converged=True),
    ]
    assert record.converged().tolist() == [True] * 4 + [False] * 3 + [True] * 3
    column = record.topology.index["left"]
    assert record.masks()[:, column].tolist() == [True] * 4 + [False] * 6
    found = judged(record, replay, samples, ())
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] == pytest.approx(0.3)
    assert [(c.frame, c.down) for c in record.trace().changes] == [(4, ("left",))]


def test_a_node_that_is_returning_counts_as_failed_until_it_is_back(
    small_deployed: Deployed,
) -> None:
    record = Record(small_deployed.topology, CLOCK, DEADLINE, first=0, last=5)
    left = frozenset({"left"})
    record.phases = [
        Phase(-1, left, converged=True),
        Phase(CLOCK.begins(2) - 1, left, converged=False),
        # Within the deadline of frame 3, after that of frame 2.
        Phase(CLOCK.begins(3) + DEADLINE - 1, frozenset(), converged=True),
    ]
    up = record.masks()[:, record.topology.index["left"]]
    assert up.tolist() == [False] * 4 + [True] * 2


# -- plans -----------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_configurations() -> None:
    topology = Topology.load("poster-residual")
    one, two = (RandomSchedule("low", seed=7).configurations(topology) for _ in range(2))
    first = [next(one) for _ in range(20)]
    assert first == [next(two) for _ in range(20)]
    other = RandomSchedule("low", seed=8).configurations(topology)
    assert first != [next(other) for _ in range(20)]
    assert all(configuration.hung <= configuration.down for configuration in first)


def test_configurations_are_drawn_as_often_as_they_are_probable() -> None:
    topology = Topology.load("poster-residual")
    drawn = RandomSchedule("low", seed=1).configurations(topology)
    found = [next(drawn) for _ in range(4000)]
    low = topology.survival("low")
    for node in topology.order:
        share = sum(node not in configuration.down for configuration in found) / len(found)
        assert share == pytest.approx(low[topology.index[node]], abs=0.04)
    hung, down = (sum(len(c[i]) for c in found) for i in (1, 0))
    assert hung / down == pytest.approx(0.5, abs=0.03)


def test_only_nodes_can_be_made_to_fail() -> None:
    topology = small_topology()
    check_survival(topology, "low")
    with pytest.raises(InputError, match="only nodes can be made to fail here, and cam0, left-"):
        check_survival(topology, {"cam0": 0.5, "left->top": 0.9, "left": 0.5})


def test_a_topology_whose_sensors_may_fail_runs_once_these_are_given_one(root: Path) -> None:
    """By the example of the documents, as the refusal and the how-to page say."""
    page = (root / "docs" / "reference" / "topology.md").read_text(encoding="utf-8")
    topology = Topology.from_dict(decode_yaml(page.partition("```yaml\n")[2].partition("```")[0]))
    with pytest.raises(InputError, match=r"cam1, edge2->fog1 may.*survival 1 in a \.json file"):
        check_survival(topology, "storm")
    check_survival(topology, {"edge1": 0.6, "edge2": 0.6, "cam1": 1, "edge2->fog1": 1})


# -- records ---------------------------------------------------------------------------------------


def test_recorded_answers_are_read(run: Record, tmp_path: Path, replay: Replay) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(a) + b"\n" for a in run.answers.values()))
    answers = read_answers(path)
    assert [answer.frame for answer in answers] == list(run.answers)
    assert replay.count(answers) == (len(answers), 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: Input data was truncated"),
        ('{"frame": 1}', "line 2: Object missing required field"),
        ('{"frame": -1, "answer": "a", "probabilities": [1], "state": "0"}', "from 0"),
        ('{"frame": 1, "answer": "a", "probabilities": [1], "state": "xyz"}', "line 2: invalid"),
        ('{"frame": 1, "answer": "a", "probabilities": [1], "state": "-1"}', "from 0"),
        ('{"frame": 1, "answer": "a", "probabilities": ["1"], "state": "0"}', "$.probabilities"),
    ],
)
def test_answers_that_cannot_be_read(tmp_path: Path, line: str, message: str) -> None:
    good = '{"frame": 0, "answer": "a", "probabilities": [1], "state": "0"}'
    (tmp_path / "answers").write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_answers(tmp_path / "answers")
    assert message in str(caught.value)


def test_no_answers(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("")
    with pytest.raises(InputError, match="it holds no answers"):
        read_answers(tmp_path / "answers")
    with pytest.raises(InputError, match="cannot read the answers"):
        read_answers(tmp_path / "nowhere")


def test_encoded_messages_are_replayed_as_they_were_sent(
    small_deployed: Deployed, samples: Samples
) -> None:
    bundle = Bundle(small_deployed.bundle)
    whole = converged_state(small_deployed.topology, frozenset())
    raw, int8 = Replay(bundle, samples.inputs), Replay(bundle, samples.inputs, "int8")
    rows = range(len(samples))
    one, other = (np.stack([r.values(i, whole) for i in rows]) for r in (raw, int8))
    assert 0 < np.abs(one - other).max() < 0.05
    many = enumerate_configurations(small_deployed.topology, {"low": "low"})
    assert len(many) == 4
    found = int8.scores(int8.task.scorer(samples.labels), (whole,))
    assert (found == (other.argmax(axis=1) == samples.labels)).all()
