"""Thresholds of early exits, chosen on held-out data against a goal of bytes or of accuracy."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..answers.early import cascade
from ..answers.rule import AnswerRule
from ..arrays import Array, Labeled
from ..bundle.manifest import BUNDLE_FILE, NODE_FILE, encode, read_bundle
from ..errors import InputError
from ..failures.sampling import Sampling, find_configurations
from ..files import new_folder, sha256
from ..scoring import Scorer
from ..task import Fallback, Task, check_samples
from ..topology import Survival, Topology
from .answering import BoundRule, first_early
from .cache import Runner, SectionCache

#: Thresholds that are tried of each node; no finer than some hundred samples can tell.
GRID = (0.0, 0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: What all bytes are worth, in accuracy; for each, thresholds are sought from those before.
WORTHS = (0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.2, 0.5, 2.0)
#: Rounds through the nodes for each of these, if something still changes.
ROUNDS = 3
#: Cases times samples that are computed at once.
AT_ONCE = 1 << 20
#: Rounding in sums over configurations.
ROUNDING = 1e-9


class Goal(msgspec.Struct, frozen=True):
    """What thresholds are chosen for, in every survivability.

    `bytes`: at most this share of the payload that there is without early exits, with the best
    mean accuracy. `accuracy`: by at most so much worse than without (such as -0.005), with the
    least bytes.
    """

    kind: Literal["bytes", "accuracy"]
    value: float


class Point(msgspec.Struct, frozen=True):
    """What some thresholds come to, by survivability: expected accuracy, and payload bytes."""

    thresholds: dict[str, float]
    accuracy: dict[str, float]
    bytes: dict[str, float]


@dataclass(frozen=True)
class Thresholds:
    """What a search found. `without`: nobody early. `tried`: all points, in the order of trial."""

    without: Point
    tried: tuple[Point, ...]

    def share(self, point: Point) -> dict[str, float]:
        """Bytes as a share of those without early exits, by survivability."""
        return {
            s: point.bytes[s] / whole if whole else 0.0 for s, whole in self.without.bytes.items()
        }

    def change(self, point: Point) -> dict[str, float]:
        """How much more accurate than without early exits, by survivability."""
        return {s: point.accuracy[s] - own for s, own in self.without.accuracy.items()}

    def front(self) -> list[Point]:
        """The points that none beats in mean accuracy at as few bytes, the fewest bytes first."""
        front: list[Point] = []
        for point in sorted(self.tried, key=lambda p: (self._bytes(p), -self._accuracy(p))):
            if not front or self._accuracy(point) > self._accuracy(front[-1]) + ROUNDING:
                front.append(point)
        return front

    def best(self, goal: Goal) -> Point:
        """The point that a goal asks for; `InputError` where none of those tried reaches it."""
        if goal.kind == "bytes":
            least = min((max(self.share(p).values()), i) for i, p in enumerate(self.tried))
            reached = [
                p for p in self.tried if max(self.share(p).values()) <= goal.value + ROUNDING
            ]
            if not reached:
                raise InputError(
                    f"no thresholds leave at most {100 * goal.value:g} % of the bytes in every "
                    f"survivability: the least found is {100 * least[0]:.1f} %; ask for more, or "
                    "train with exits on more nodes"
                )
            return max(reached, key=lambda p: (self._accuracy(p), -self._bytes(p)))
        reached = [p for p in self.tried if min(self.change(p).values()) >= goal.value - ROUNDING]
        if not reached:
            most = max(min(self.change(p).values()) for p in self.tried)
            raise InputError(
                f"no thresholds change the accuracy by {100 * goal.value:+g} points or better in "
                f"every survivability: the best found is {100 * most:+.2f}; ask for less"
            )
        return min(reached, key=lambda p: (self._bytes(p), -self._accuracy(p)))

    def _accuracy(self, point: Point) -> float:
        return float(np.mean(list(point.accuracy.values())))

    def _bytes(self, point: Point) -> float:
        return float(np.mean(list(self.share(point).values())))


def find_thresholds(
    topology: Topology,
    runner: Runner,
    samples: Labeled,
    task: Task,
    survivabilities: Mapping[str, Survival],
    *,
    fallback: Fallback = "prior",
    rule: AnswerRule = AnswerRule(),
    sampling: Sampling = Sampling(),
) -> Thresholds:
    """Try thresholds on held-out data, and say what each choice is worth.

    First the same for all exits; then, for rising worths of a byte, each node's in turn while the
    others stay, from where the worth before led. All of it is exact, as `reliability.evaluate` with
    thresholds in its rule, whose arguments these are; on the same data both agree. Thresholds that
    `rule` has already are not looked at.

    Raises `InputError` where no node has an exit, and for data that do not fit.
    """
    if not topology.exits:
        raise InputError(
            f"no node of {topology.name!r} has an exit, so none can answer early; train with exits"
        )
    check_samples(samples.inputs, samples.labels, [s.name for s in topology.sensors])
    configurations = find_configurations(topology, survivabilities, sampling)
    everyone = dict.fromkeys(topology.exits, 1.0)
    bound = BoundRule(topology, msgspec.structs.replace(rule, early=everyone), task)
    found, inverse = bound.joint_states(configurations.masks)
    weights = {
        s: np.asarray(np.bincount(inverse, configurations.probabilities(s), len(found)), np.float64)
        for s in survivabilities
    }
    cache = SectionCache(topology, runner, samples.inputs)
    scorer = task.scorer(samples.labels)
    trial = _Trial(bound, cache, found, scorer, task.fallback(fallback), weights)
    nobody = dict.fromkeys(topology.exits, 0.0)
    without = trial.of(nobody)
    for threshold in GRID:
        trial.of(dict.fromkeys(topology.exits, threshold))
    now = nobody
    for worth in WORTHS:
        now = _climb(trial, now, worth, without)
    return Thresholds(without, trial.points)


def _climb(
    trial: _Trial, start: Mapping[str, float], worth: float, without: Point
) -> dict[str, float]:
    """The thresholds that no change of a single node's betters, from a start."""
    now = dict(start)

    def value(thresholds: Mapping[str, float]) -> float:
        point = trial.of(thresholds)
        values = [
            point.accuracy[s] - worth * point.bytes[s] / max(1.0, without.bytes[s])
            for s in point.accuracy
        ]
        return float(np.mean(values))

    for _ in range(ROUNDS):
        before = dict(now)
        for node in now:
            own = max(GRID, key=lambda t: (value({**now, node: t}), -t))
            now[node] = own
        if now == before:
            break
    return now


class _Trial:
    """Evaluates thresholds for all joint_states and samples at once."""

    def __init__(
        self,
        answering: BoundRule,
        cache: SectionCache,
        joint_states: Sequence[tuple[int, ...]],
        scorer: Scorer,
        fallback: NDArray[np.float64],
        weights: Mapping[str, NDArray[np.float64]],
    ) -> None:
        topology = answering.topology
        self._topology, self._weights = topology, weights
        states = [answering.states(joint_state) for joint_state in joint_states]
        self._sends = {n: np.array([bool(s[n]) for s in states]) for n in topology.order}
        self._delivers = {
            link.name: np.array(
                [bool(s[link.target] >> topology.bits[link.name] & 1) for s in states]
            )
            for link in topology.links
        }
        #: Of each exit, by row: what it makes of each sample in one state; row 0 is of no answer.
        self._row: dict[str, NDArray[np.intp]] = {}
        self._entropy: dict[str, Array] = {}
        self._confidence: dict[str, Array] = {}
        self._score: dict[str, Array] = {}
        for node in topology.exits:
            own = [0, *sorted({s[node] for s in states} - {0})]
            place = {state: i for i, state in enumerate(own)}
            self._row[node] = np.array([place[s[node]] for s in states])
            answers = [cache.answer(state, node) for state in own[1:]]
            blank = np.full(cache.samples, np.inf), np.zeros(cache.samples), np.zeros(cache.samples)
            task = answering.sure_task
            self._entropy[node] = np.stack([blank[0], *map(task.entropy, answers)])
            self._confidence[node] = np.stack([blank[1], *map(task.confidence, answers)])
            scores = [scorer.per_sample(scorer.points(x)) for x in answers]
            self._score[node] = np.stack([blank[2], *scores])
        self._ordinary = np.stack(
            [self._given(answering, cache, s, scorer, fallback) for s in states]
        )
        self._bytes = {
            node: cache.message_bytes.get(node, 0) * len(topology.outgoing(node))
            for node in topology.order
        }
        self._found: dict[tuple[float, ...], Point] = {}

    @property
    def points(self) -> tuple[Point, ...]:
        """All that were evaluated."""
        return tuple(self._found.values())

    def of(self, thresholds: Mapping[str, float]) -> Point:
        """What thresholds, one of each exit, come to."""
        key = tuple(thresholds[node] for node in self._topology.exits)
        if key not in self._found:
            cases, samples = self._ordinary.shape
            step = max(1, AT_ONCE // samples)
            parts = [self._cases(thresholds, slice(i, i + step)) for i in range(0, cases, step)]
            accuracy, payload = (np.concatenate(column) for column in zip(*parts, strict=True))
            self._found[key] = Point(
                {node: t for node, t in thresholds.items() if t},
                {s: float(w @ accuracy) for s, w in self._weights.items()},
                {s: float(w @ payload) for s, w in self._weights.items()},
            )
        return self._found[key]

    def _cases(self, thresholds: Mapping[str, float], cases: slice) -> tuple[Array, Array]:
        """Accuracy and payload bytes in some of the joint_states, shape (cases,) each."""
        topology = self._topology
        rows = {node: self._row[node][cases] for node in topology.exits if thresholds[node]}
        sure = {n: (self._entropy[n] < thresholds[n])[row] for n, row in rows.items()}
        delivers = {name: x[cases, None] for name, x in self._delivers.items()}
        early, passes = cascade(topology, delivers, sure)
        scores = self._ordinary[cases]
        if rows:
            confidences = {n: self._confidence[n][row] for n, row in rows.items()}
            who = first_early(topology, early, confidences)
            for node, row in rows.items():
                own = who == topology.order.index(node)
                scores = np.where(own, self._score[node][row], scores)
        payload = np.zeros(len(scores))
        for node in topology.order:
            silenced = early[node] | passes[node]
            share = 1.0 - (silenced.mean(axis=1) if silenced.ndim else float(silenced))
            payload += self._bytes[node] * self._sends[node][cases] * share
        return scores.mean(axis=1), payload

    @staticmethod
    def _given(
        answering: BoundRule,
        cache: SectionCache,
        states: Mapping[str, int],
        scorer: Scorer,
        fallback: NDArray[np.float64],
    ) -> Array:
        """What the answer scores that is taken where nobody is early, (samples,)."""
        answers, places = answering.not_early(cache, states)
        nothing = scorer.per_sample(scorer.of_constant(fallback))
        if (places < 0).all():
            return nothing
        return np.where(places < 0, nothing, scorer.per_sample(scorer.points(answers)))


def write_thresholds(folder: str | Path, thresholds: Mapping[str, float]) -> None:
    """Write thresholds into a bundle, in place of those it has; all of it changes, or nothing.

    Raises `InputError` for a folder that is no bundle, and for a node without an exit.
    """
    folder = Path(folder)
    manifest, nodes = read_bundle(folder)
    if unknown := thresholds.keys() - set(manifest.topology.exits):
        raise InputError(f"{folder}: no exit on {', '.join(sorted(unknown))}")
    early = {n: float(thresholds[n]) for n in manifest.topology.exits if thresholds.get(n)}
    hashes = dict(manifest.nodes)
    with new_folder(folder, replaces=BUNDLE_FILE) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        for name, node in nodes.items():
            data = encode(msgspec.structs.replace(node, early=early.get(name)))
            (temporary / "nodes" / name / NODE_FILE).write_bytes(data)
            hashes[name] = sha256(data)
        changed = msgspec.structs.replace(manifest, early=early or None, nodes=hashes)
        (temporary / BUNDLE_FILE).write_bytes(encode(changed))
        read_bundle(temporary)


def lines(found: Thresholds, points: Iterable[Point]) -> list[str]:
    """Points as lines of a table: bytes, then accuracy, by survivability, then thresholds."""
    names = list(found.without.bytes)
    rows = [f"{'bytes % at ' + '/'.join(names):<34}{'accuracy %':<28}thresholds"]
    for point in points:
        share, own = found.share(point), point.accuracy
        rows.append(
            f"{' / '.join(f'{100 * share[s]:5.1f}' for s in names):<34}"
            f"{' / '.join(f'{100 * own[s]:.2f}' for s in names):<28}"
            + (", ".join(f"{n} {t:g}" for n, t in point.thresholds.items()) or "none")
        )
    return rows
