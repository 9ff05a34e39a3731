"""What smoothing over the frames of one object is worth on the real cameras, under failures.

The models are those of `benchmarks boxes`, of pixels alone, trained on time:train. In each frame
all objects meet the same failures: drawn again per frame, or lasting (mean time to repair five
frames, and the mean time to failure that gives each node the survivability's survival). The
half-life is chosen on time:validation. What comes out is past the bound of stateless answers,
which stands beside it.

The data name no object over time. A sample goes on with the sample of the same class and row of up
to three frames before, if in at least one camera the two boxes overlap; else a new track begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddnn_tf.datasets.pictures import Box
from ddnn_tf.datasets.raw import listed_boxes
from edge_runtime.answers.smoothing import Smoother
from edge_runtime.evaluation.answering import state_keys
from edge_runtime.evaluation.cache import SectionCache
from edge_runtime.failures.configurations import draw, output_states
from edge_runtime.failures.trace import FailureTrace, complete_uptimes
from edge_runtime.task import Classification
from edge_runtime.topology import Topology
from export.split import KerasRunner

from .boxes import ON, PIXELS
from .cameras import SURVIVABILITIES, bound, cameras, spreads, trained
from .splits import RESULTS

CHOOSE_ON = "time:validation"
#: In frames.
HALF_LIVES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: Frames between two samples of one object, at most: some frames have no pictures.
GAP = 3
#: Mean frames to repair, where failures last.
REPAIR = 5.0
#: Traces drawn at each survivability, to choose on and to report.
TRIED, REPORTED = 100, 400

Lasts = Literal["again each frame", "lasting"]
KINDS: tuple[Lasts, ...] = ("again each frame", "lasting")
Track = list[int]
Views = Mapping[int, Box]


class Told(NamedTuple):
    """What a model answers on a split: by delivered-links state, and the prior where that is 0."""

    labels: NDArray[np.int64]
    frames: NDArray[np.int64]
    tracks: list[Track]
    topology: Topology
    task: Classification
    cache: SectionCache


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    folder = cameras()
    if not folder:
        print("  skipped: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    numbers = {int(name[3:]) for name in PIXELS.data(ON).inputs}
    boxes = listed_boxes(folder / PIXELS.form, numbers)
    held_out = [_told(seed, CHOOSE_ON, boxes) for seed in range(seeds)]
    told = [_told(seed, ON, boxes) for seed in range(seeds)]
    _describe(told[0])
    print(f"  % at {'/'.join(SURVIVABILITIES)}, mean ± half range of {seeds} seeds, fallback prior")
    best = bound(PIXELS, ON).values()
    print("  no stateless model can beat " + " / ".join(f"{100 * b:.2f}" for b in best))
    for kind in KINDS:
        tried = [_accuracies(x, kind, HALF_LIVES, 0, TRIED) for x in held_out]
        worth = {h: _mean([found[h] for found in tried]) for h in HALF_LIVES}
        half_life = max(worth, key=lambda h: worth[h])
        print(f"  failures {kind}; chosen on {CHOOSE_ON}: a half-life of {half_life:g} frames")
        print("   of " + ", ".join(f"{h:g}: {100 * w:.2f}" for h, w in worth.items()))
        by_way = [_accuracies(x, kind, (None, half_life), 1, REPORTED) for x in told]
        for title, way in {"as they are": None, "smoothed": half_life}.items():
            found = [ways[way] for ways in by_way]
            print(f"  {title:<16}{spreads(found, 'expected_accuracy')}", flush=True)
            print(f"  {'balanced':>14}  {spreads(found, 'balanced_accuracy')}", flush=True)


def _told(seed: int, on: str, boxes: Mapping[tuple[str, int, int], Views]) -> Told:
    model = trained(PIXELS, seed, RESULTS)
    data, table = PIXELS.data(on), PIXELS.table(on)
    assert table.frames is not None  # the raw form has both
    assert table.objects is not None
    names = [data.class_names[label] for label in table.labels]
    keys = list(zip(names, table.frames.tolist(), table.objects.tolist(), strict=True))
    runner = KerasRunner(model, model.topology)
    return Told(
        labels=table.labels,
        frames=table.frames,
        tracks=tracks_of(keys, boxes),
        topology=model.topology,
        task=Classification(model.class_names, model.prior),
        cache=SectionCache(model.topology, runner, data.inputs),
    )


def tracks_of(
    keys: Sequence[tuple[str, int, int]], boxes: Mapping[tuple[str, int, int], Views]
) -> list[Track]:
    """Places of the samples of each track, in the order of frames."""
    tracks: list[Track] = []
    latest: dict[tuple[str, int], Track] = {}
    for place in sorted(range(len(keys)), key=lambda i: keys[i][1]):
        name, frame, number = keys[place]
        track = latest.get((name, number))
        before = keys[track[-1]] if track else None
        if (
            track is None
            or before is None
            or frame - before[1] > GAP
            or not _overlap(boxes[before], boxes[keys[place]])
        ):
            track = latest[name, number] = []
            tracks.append(track)
        track.append(place)
    return tracks


def _overlap(one: Views, other: Views) -> bool:
    """Whether in some camera the two boxes share an area."""
    return any(
        min(one[c][2], other[c][2]) > max(one[c][0], other[c][0])
        and min(one[c][3], other[c][3]) > max(one[c][1], other[c][1])
        for c in one.keys() & other.keys()
    )


def _describe(told: Told) -> None:
    """How many tracks there are, and how long: what the figures rest on."""
    names = PIXELS.data(ON).class_names
    lengths: dict[int, list[int]] = {}
    for track in told.tracks:
        lengths.setdefault(int(told.labels[track[0]]), []).append(len(track))
    for label, found in sorted(lengths.items()):
        counts = ", ".join(f"{n} of {k}" for k, n in sorted(Counter(found).items(), reverse=True))
        print(f"  {names[label]}: {sum(found)} samples; tracks by their frames: {counts}")


def _accuracies(
    told: Told, kind: Lasts, half_lives: Sequence[float | None], seed: int, traces: int
) -> dict[float | None, dict[str, Any]]:
    """Accuracy over the same drawn traces by half-life, and the mean over classes.

    None as a half-life is for answers as they are.
    """
    found: dict[float | None, dict[str, Any]] = {
        h: {"expected_accuracy": {}, "balanced_accuracy": {}} for h in half_lives
    }
    for number, survival in enumerate(SURVIVABILITIES):
        # The same for every model.
        rng = np.random.default_rng((seed, number))
        right = {h: np.zeros(len(told.labels)) for h in half_lives}
        for answers, heard in _answered(told, kind, survival, rng, traces):
            for half_life in half_lives:
                right[half_life] += _right(told, answers, heard, half_life) / traces
        for half_life, share in right.items():
            recalls = [share[told.labels == label].mean() for label in np.unique(told.labels)]
            found[half_life]["expected_accuracy"][survival] = float(share.mean())
            found[half_life]["balanced_accuracy"][survival] = float(np.mean(recalls))
    return found


def _answered(
    told: Told, kind: Lasts, survival: str, rng: np.random.Generator, traces: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """For each trace: every sample's answer, (samples, classes), and whether it is no fallback."""
    first, last = int(told.frames.min()), int(told.frames.max())
    length = last - first + 1
    samples = np.arange(len(told.labels))
    uptimes = complete_uptimes(told.topology, survival, mttr=REPAIR)
    for _ in range(traces):
        if kind == "lasting":
            trace = FailureTrace.drawn(told.topology, uptimes, length, rng)
            masks = trace.masks(length)
        else:
            masks = draw(told.topology, survival, length, rng)
        keys, which = state_keys(output_states(told.topology, masks))
        answers = np.stack(
            [
                told.cache.answer(key) if key else np.tile(told.task.fallback(), (len(samples), 1))
                for key in keys
            ]
        )
        states = which[told.frames - first]
        yield answers[states, samples], np.array([bool(key) for key in keys])[states]


def _right(
    told: Told,
    answers: NDArray[np.float64],
    heard: NDArray[np.bool_],
    half_life: float | None,
) -> NDArray[np.bool_]:
    """Which samples are answered rightly, each track smoothed by itself."""
    if half_life is None:
        return np.asarray(answers.argmax(axis=1) == told.labels)
    right = np.zeros(len(answers), bool)
    for track in told.tracks:
        smoother = Smoother(told.task.prior, half_life)
        for place in track:
            own = answers[place] if heard[place] else None
            belief = smoother.add(own, float(told.frames[place]))
            assert belief is not None  # frames rise within a track
            right[place] = belief.argmax() == told.labels[place]
    return right


def _mean(found: Sequence[Mapping[str, Any]]) -> float:
    return float(np.mean([list(f["expected_accuracy"].values()) for f in found]))


if __name__ == "__main__":
    main()
