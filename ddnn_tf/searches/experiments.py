"""Trainings and what was measured of each: made once, kept in a folder, so that work goes on.

The one place where searches, studies and benchmarks train: an interrupted one repeats nothing
that it finished, and several processes may share a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np

from edge_runtime.answers.policies import AnswerMode
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.files import new_file, sha256
from edge_runtime.task import Fallback
from edge_runtime.topology import Survival, Topology
from export.split import KerasRunner
from export.split import split as sections_of

from ..datasets import Batches, Dataset
from ..model import ResilientModel
from ..names import MergeWeights, Method, SectionName
from ..training.methods import default_merge_weights
from ..training.recipe import Recipe
from ..training.spread import Spread
from ..training.training import train

#: Rounding in sums over configurations; a real excess over a bound is a whole sample's.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Experiment:
    """One training, and on which splits its model is measured.

    Args:
        topology: see `train`.
        train: name of the split to train on.
        report: names of the splits to measure on.
        survival: survivabilities to train for, by name.
        measure: survivabilities to measure at; those trained for by default.
        fallbacks: with which to measure.
        answer: who answers when it is measured: the output node, or any node that has an exit.
        seed, method, sections, merge_weights, recipe: see `train`.
    """

    topology: Topology
    train: str
    report: tuple[str, ...]
    survival: Mapping[str, Survival]
    measure: Mapping[str, Survival] | None = None
    fallbacks: tuple[Fallback, ...] = ("prior",)
    answer: AnswerMode = "output"
    seed: int = 0
    method: Method = "dropout"
    sections: SectionName = "fc32"
    merge_weights: MergeWeights | None = None
    recipe: Recipe = field(default_factory=Recipe)

    def describe(self) -> dict[str, Any]:
        """All that decides the result, as plain values."""
        # Said only where it is another: what was kept before there were exits remains valid.
        answer = {} if self.answer == "output" else {"answer": self.answer}
        return {
            **answer,
            "topology": self.topology.to_dict(),
            "train": self.train,
            "report": list(self.report),
            "survival": {k: _plain(v) for k, v in self.survival.items()},
            "measure": {k: _plain(v) for k, v in (self.measure or self.survival).items()},
            "fallbacks": list(self.fallbacks),
            "seed": self.seed,
            "method": self.method,
            "sections": self.sections,
            "merge_weights": self.merge_weights or default_merge_weights(len(self.survival)),
            "recipe": asdict(self.recipe),
        }


@dataclass(frozen=True)
class Final:
    """How the models that are reported are trained.

    `split`: to train on, the template's where None; `seeds`: one model each.
    """

    split: str | None = None
    seeds: Sequence[int] = (0, 1, 2)


FINAL = Final()

#: Told what is being done, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Measured:
    """What one experiment found.

    `reports`: by split and fallback, `Reliability.to_dict()`. `bounds`: by split and
    survivability, what no model can beat. `bytes`: payload of all links an inference, when nothing
    has failed; see `link_bytes`.
    """

    reports: Mapping[str, Mapping[str, Mapping[str, Any]]]
    bounds: Mapping[str, Mapping[str, float]]
    bytes: int

    def accuracy(
        self, split: str, survivability: str, *, fallback: str = "prior", balanced: bool = False
    ) -> float:
        """Expected, or balanced, accuracy."""
        figure = "balanced_accuracy" if balanced else "expected_accuracy"
        return float(self.reports[split][fallback][figure][survivability])


class ExperimentStore:
    """A folder of experiments on one data set.

    Args:
        folder: one JSON file an experiment, and one `.keras` a model that was asked for.
        data: what is trained and measured on.
        callbacks: given an experiment, the callbacks of its `fit`, such as a progress bar's.
    """

    def __init__(
        self,
        folder: str | Path,
        data: Dataset,
        *,
        callbacks: Callable[[Experiment], Sequence[keras.callbacks.Callback]] = lambda one: (),
    ) -> None:
        self.folder = Path(folder)
        self.data = data
        self._callbacks = callbacks
        self._splits: dict[str, Batches] = {}

    def measured(self, experiment: Experiment) -> Measured:
        """The experiment's figures, from the folder or from training it now."""
        found = self.kept(
            self.path(experiment, ".json"),
            lambda: {
                "run": experiment.describe(),
                "found": asdict(self._measure(experiment, self._train(experiment))),
            },
        )
        try:
            return Measured(**found["found"])
        except (KeyError, TypeError) as error:
            raise _damaged(self.path(experiment, ".json"), error) from error

    def over_seeds(self, experiment: Experiment, seeds: Iterable[int]) -> list[Measured]:
        """The same experiment from each of several seeds."""
        return [self.measured(replace(experiment, seed=seed)) for seed in seeds]

    def kept(self, path: Path, make: Callable[[], Any]) -> Any:
        """What a JSON file holds; where there is none, it is made first."""
        if not path.is_file():
            made = json.dumps(make(), indent=1)
            with new_file(path) as temporary:
                temporary.write_text(made + "\n", encoding="utf-8")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error

    def model(self, experiment: Experiment) -> ResilientModel:
        """The experiment's trained model, from the folder or from training it now."""
        path = self.path(experiment, ".keras")
        model: ResilientModel
        if path.is_file():
            try:
                model = keras.models.load_model(path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _damaged(path, error) from error
        else:
            model = self._train(experiment)
            with new_file(path) as temporary:
                model.save(temporary)
        return model

    def path(self, experiment: Experiment, suffix: str) -> Path:
        """Where an experiment is kept: its name tells people what, and the rest which exactly."""
        whole = json.dumps([self.fingerprint, experiment.describe()], sort_keys=True)
        what = f"{experiment.topology.name}-{experiment.method}-{experiment.sections}"
        name = f"{what}-seed{experiment.seed}"
        return self.folder / f"{name}-{sha256(whole.encode())[:12]}{suffix}"

    def split(self, name: str) -> Batches:
        """A split of the data, cut once."""
        if name not in self._splits:
            self._splits[name] = self.data.split(name)
        return self._splits[name]

    def bound(
        self,
        topology: Topology,
        split: str,
        survival: Mapping[str, Survival],
        answer: AnswerMode = "output",
    ) -> dict[str, float]:
        """What no stateless model on these links can beat; see `reachability_bound`."""
        part = self.split(split)
        columns = [self.data.sensors.index(s.name) for s in topology.sensors]
        return reachability_bound(
            topology, part.visible[:, columns], part.labels, survival, answer=answer
        )

    @cached_property
    def fingerprint(self) -> str:
        """Of the data: a folder of experiments must not answer for other pictures."""
        samples, table = self.data.samples, self.data.table
        known = (table.folders, table.objects, table.frames, table.groups)
        rows = [x for x in known if x is not None]
        parts = [repr(samples.class_names).encode(), *(repr(x.tolist()).encode() for x in rows)]
        arrays = (samples.labels, self.data.visible, *samples.inputs.values())
        parts += [np.ascontiguousarray(x).tobytes() for x in arrays]
        return sha256("".join(map(sha256, parts)).encode())

    def _train(self, experiment: Experiment) -> ResilientModel:
        return train(
            experiment.topology,
            self.split(experiment.train),
            method=experiment.method,
            survival=experiment.survival,
            sections=experiment.sections,
            merge_weights=experiment.merge_weights,
            recipe=experiment.recipe,
            seed=experiment.seed,
            callbacks=self._callbacks(experiment),
        )

    def _measure(self, experiment: Experiment, model: ResilientModel) -> Measured:
        wanted = dict(experiment.measure or experiment.survival)
        reports: dict[str, dict[str, Any]] = {}
        bounds: dict[str, dict[str, float]] = {}
        runner = KerasRunner(model, model.topology)
        for split in experiment.report:
            bounds[split] = self.bound(model.topology, split, wanted, experiment.answer)
            reports[split] = {}
            for fallback in experiment.fallbacks:
                found = evaluate(
                    model.topology,
                    runner,
                    self.split(split),
                    model.task,
                    wanted,
                    fallback=fallback,
                    rule=AnswerRule(mode=experiment.answer),
                )
                reports[split][fallback] = found.to_dict()
                for name, bound in bounds[split].items():
                    if found.expected_accuracy(name) > bound + ROUNDING:
                        raise RuntimeError(
                            f"{model.topology.name} on {split} at {name}: "
                            f"{found.expected_accuracy(name):.4f} is above the bound {bound:.4f}, "
                            "which is a fault of this program or of the data's visibility"
                        )
        between = link_bytes(model)
        return Measured(reports, bounds, sum(between.values()))


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged ({error!r}); remove it to do this again")


def message_bytes(model: ResilientModel) -> dict[str, int]:
    """Payload in bytes of one message of each node, and of one picture of each sensor, by name."""
    topology = model.topology
    sent = {
        # Of a node with an exit the last output is its answer, which goes to no node.
        node: sum(
            _size(x.shape[1:], x.dtype)
            for x in section.outputs[: -1 if node in topology.exits else None]
        )
        for node, section in sections_of(model, topology).items()
    }
    return sent | {s.name: _size(s.shape, s.dtype) for s in topology.sensors}


def link_bytes(model: ResilientModel) -> dict[str, int]:
    """Payload of each link in bytes per inference, by link name.

    A camera is hosted by the first node that reads it, to which its pictures cross no network.
    """
    topology = model.topology
    sent = message_bytes(model)
    hosted = {topology.outgoing(s.name)[0].name for s in topology.sensors}
    return {x.name: 0 if x.name in hosted else sent[x.source] for x in topology.links}


def _size(shape: Iterable[int], dtype: Any) -> int:
    one: int = np.dtype(keras.backend.standardize_dtype(dtype)).itemsize
    return int(np.prod(list(shape))) * one


def spread_of(values: Iterable[float]) -> Spread:
    """Mean and half range of one figure over seeds."""
    found = list(values)
    return Spread(float(np.mean(found)), float(max(found) - min(found)) / 2, len(found))


def _plain(survival: Survival) -> Any:
    return msgspec.to_builtins(dict(survival) if isinstance(survival, Mapping) else survival)
