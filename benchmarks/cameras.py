"""What is trained on the real cameras, each figure kept so that an interrupted run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from ddnn_tf import Convolutional, Recipe, Topology, datasets, expected_accuracy, learn_views, train
from ddnn_tf.datasets import Batches, Dataset, with_boxes
from ddnn_tf.datasets.boxes import Boxes
from ddnn_tf.datasets.splits import Table, rows_of
from ddnn_tf.searches.experiments import ROUNDING
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.files import new_file
from edge_runtime.transport.wire import Encoding

SURVIVABILITIES = ("high", "medium", "low")

#: How an encoder learns from single views, and how all else learns from what it makes of them.
VIEWS = Recipe(epochs=30, batch_size=64, learning_rate=2e-3, balance=0.5, shift=4, zoom=0.15)
REST = Recipe(
    epochs=50, batch_size=64, learning_rate=2e-3, balance=0.5, shift=4, zoom=0.15, repeats=8
)

#: How one encoder of all cameras and all else learn together, where the rarest class is repeated.
TOGETHER = Recipe(
    epochs=60,
    batch_size=64,
    learning_rate=2e-3,
    balance=0.0,
    shift=4,
    zoom=0.15,
    repeats=8,
    auxiliary=0.5,
)

Form = Literal["mvmc", "epfl_multiclass"]


@dataclass(frozen=True)
class Setting:
    """One way to train, on one split; what its figures depend on, and nothing else.

    `views`: how the encoder learns first, "shared" where one for all cameras learns together with
    all else by `rest`, or None where each camera's does.
    `rare`: how often each sample of the rarest class stands in the training data.
    `size`, `margins`: of the views cut from whole pictures; the poster's crops are as they are.
    `boxes`: whether the size of each view's box is seen, beside its pixels or alone.
    """

    form: Form = "epfl_multiclass"
    split: str = "time:train"
    topology: str = "poster-edge-skip"
    size: int = 48
    margins: tuple[float, ...] = (1.0, 1.5)
    sections: Convolutional = field(default_factory=Convolutional)
    survival: tuple[str, ...] = SURVIVABILITIES
    views: Recipe | Literal["shared"] | None = VIEWS
    rest: Recipe = REST
    rare: int = 1
    boxes: Boxes | None = None

    def data(self, split: str) -> Batches:
        """A split of the cameras."""
        return _cameras(self.form, self.size, self.margins, self.boxes).split(split)

    def table(self, split: str) -> Table:
        """Class, object and frame of each sample of a split."""
        table = _cameras(self.form, self.size, self.margins, self.boxes).table
        rows = rows_of(split, table)
        return Table(
            labels=table.labels[rows],
            objects=None if table.objects is None else table.objects[rows],
            frames=None if table.frames is None else table.frames[rows],
        )

    def taught(self) -> Batches:
        """What it is trained on."""
        data = self.data(self.split)
        counts = np.bincount(data.labels, minlength=len(data.class_names))
        rarest = data.labels == np.where(counts > 0, counts, len(data.labels)).argmin()
        rows = np.repeat(np.arange(len(data.labels)), np.where(rarest, self.rare, 1))
        return Batches(data.samples.take(rows), visible=data.visible[rows], name=data.name)

    def graph(self) -> Topology:
        """The topology, for views of this size."""
        cameras = Topology.load(self.topology)
        shape = self.size, self.size, 3 * len(self.margins)
        sized = cameras.with_sensors({s.name: shape for s in cameras.sensors}, "uint8")
        return with_boxes(sized, self.boxes) if self.boxes else sized


def cameras() -> Path | None:
    """The folder that holds the cameras' data, where it is there."""
    folder = Path(os.environ.get("DDNN_DATA", "../shared/data"))
    return folder if (folder / "mvmc").is_dir() else None


def figures(
    setting: Setting, seed: int, on: str, kept: Path, messages: Encoding = "raw"
) -> dict[str, Any]:
    """What `expected_accuracy` finds on a split, from an earlier run or from training now."""
    path = kept / f"{_key(setting, seed)}-{on.replace(':', '-')}-{messages}.json"
    if not path.is_file():
        model = trained(setting, seed, kept)
        found = expected_accuracy(
            model, setting.data(on), survival=SURVIVABILITIES, messages=messages
        )
        for name, best in bound(setting, on).items():
            if found.expected_accuracy(name) > best + ROUNDING:
                raise RuntimeError(f"{found.expected_accuracy(name)} is above the bound {best}")
        told = {**found.to_dict(), "setting": asdict(setting), "seed": seed}
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(told))
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def bound(setting: Setting, on: str) -> dict[str, float]:
    """What no model of this setting's topology can beat on a split."""
    data = setting.data(on)
    return reachability_bound(
        setting.graph(), data.visible, data.labels, {s: s for s in SURVIVABILITIES}
    )


def spreads(found: Sequence[Mapping[str, Any]], figure: str) -> str:
    """Mean ± half range over seeds, % at each survivability."""
    columns = [[100 * f[figure][s] for f in found] for s in SURVIVABILITIES]
    return " / ".join(f"{np.mean(c):.2f} ± {(max(c) - min(c)) / 2:.2f}" for c in columns)


def trained(setting: Setting, seed: int, kept: Path) -> Any:
    """A setting's model, from an earlier run or from training now."""
    path = kept / f"{_key(setting, seed)}.keras"
    if path.is_file():
        return keras.models.load_model(path)
    data = setting.taught()
    encoder: Any = None
    if setting.views == "shared":
        encoder = "shared"
    elif setting.views:
        # All that the encoder depends on.
        sees = asdict(setting.views), setting.sections.filters, setting.sections.features
        stays = _key((setting.form, setting.split, setting.size, setting.margins, sees), seed)
        encoded = kept / f"encoder-{stays}.keras"
        if encoded.is_file():
            encoder = keras.models.load_model(encoded)
        else:
            encoder = learn_views(data, sections=setting.sections, recipe=setting.views, seed=seed)
            _save(encoder, encoded)
    model = train(
        setting.graph(),
        data,
        sections=setting.sections,
        survival=setting.survival,
        recipe=setting.rest,
        encoder=encoder,
        seed=seed,
    )
    # The fallback answers by the frequencies that were met, not by those that were made.
    model.prior = setting.data(setting.split).prior
    _save(model, path)
    return model


def _save(model: keras.Model, path: Path) -> None:
    with new_file(path) as temporary:
        model.save(temporary)


@cache
def _cameras(
    form: Form, size: int, margins: tuple[float, ...], boxes: Boxes | None = None
) -> Dataset:
    folder = cameras()
    if folder is None:
        raise FileNotFoundError("no cameras; DDNN_DATA=FOLDER says where they are")
    whole: dict[str, Any] = {}
    if form != "mvmc":
        whole = {"size": size, "margin": margins, "boxes": boxes}
    return datasets.load(folder / form, **whole)


def _key(what: Any, seed: int) -> str:
    plain = asdict(what) if isinstance(what, Setting) else what
    if isinstance(what, Setting) and what.boxes is None:
        del plain["boxes"]  # what was kept before there were any is still of this setting
    return sha256(json.dumps([plain, seed]).encode()).hexdigest()[:12]
