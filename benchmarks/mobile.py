"""Skip links and node dropout on a MobileNetV2 over IoT, edge, fog and cloud, on the real cameras.

A MobileNetV2 (alpha 0.35, 96x96) learns the class from single views from random weights on, is cut
over the `mobile` topology, and the parts are trained on, all for as long. A sample is one view that
sees its object, cut from the raw pictures. Trained on time-backward:train, reported on
time-backward:test, which chose nothing. Models and figures are kept in build/mobile/, so that an
interrupted run goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ddnn_tf import Recipe, Topology, datasets, expected_accuracy, load_model, train
from ddnn_tf.cutting.partition import partition
from ddnn_tf.datasets import Batches, Dataset
from ddnn_tf.names import Merge
from ddnn_tf.training.augmentation import Augmented
from ddnn_tf.training.fitting import class_weights
from ddnn_tf.training.pretraining import single_views
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.files import new_file
from edge_runtime.samples import Samples

from .cameras import SURVIVABILITIES, spreads

RESULTS = Path("build/mobile")
SPLIT = "time-backward"
SIZE, ALPHA = 96, 0.35
SHAPE = (SIZE, SIZE, 3)
#: What the bytes 0 and 255 stand for in a MobileNetV2.
BYTES = (-1.0, 1.0)

#: Of the whole model, and of what comes after the cut. The latter was chosen on
#: time-backward:validation, with seed 0, beside 6 epochs at 5e-4.
WHOLE = Recipe(
    epochs=16, batch_size=32, learning_rate=2e-3, balance=0.5, shift=8, zoom=0.15, mirror=True
)
REST = Recipe(
    epochs=14,
    batch_size=32,
    learning_rate=3e-4,
    balance=0.5,
    shift=8,
    gain=0.3,
    zoom=0.15,
    mirror=True,
    freeze="none",
)


@dataclass(frozen=True)
class Variant:
    """How the parts go on: over which links, how these merge, and whether nodes fail meanwhile."""

    residual: bool = True
    merge: Merge = "add"
    dropout: bool = False


VANILLA = "vanilla cut, trained on"
VARIANTS: Mapping[str, Variant] = {
    VANILLA: Variant(residual=False),
    "skips": Variant(),
    "skips + dropout": Variant(dropout=True),
    "skips + dropout, multiplexer": Variant(merge="multiplexer", dropout=True),
}


def views(part: str) -> Batches:
    """The single views of one part of the split, by the topology's sensor."""
    found = single_views(_cameras().split(f"{SPLIT}:{part}"))
    (pictures,) = found.inputs.values()
    (sensor,) = Topology.load("mobile").sensor_names
    return Batches(Samples({sensor: pictures}, found.labels, found.class_names), name=part)


def whole(seed: int) -> keras.Model:
    """The whole model, which takes floats and gives probabilities; trained, or trained now."""
    path = RESULTS / f"{_key(asdict(WHOLE), seed)}.keras"
    if path.is_file():
        return keras.models.load_model(path)
    keras.utils.set_random_seed(seed)
    data = views("train")
    model = keras.applications.MobileNetV2(
        SHAPE, alpha=ALPHA, weights=None, classes=len(data.class_names)
    )
    for layer in _norms(model):
        layer.momentum = 0.9  # of 0.999 it would still know its start after a thousand steps
    (sensor,) = data.inputs
    pictures = keras.Input(SHAPE, dtype="uint8", name=sensor)
    low, high = BYTES
    floats = keras.layers.Rescaling((high - low) / 255, offset=low)(pictures)
    learner = keras.Model({sensor: pictures}, model(floats))
    steps = WHOLE.epochs * -(-len(data.labels) // WHOLE.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(WHOLE.learning_rate, steps)
    learner.compile(
        keras.optimizers.AdamW(rate, weight_decay=WHOLE.weight_decay),
        "sparse_categorical_crossentropy",
    )
    order, variations = np.random.default_rng(seed).spawn(2)
    batches = Batches(data.samples, batch_size=WHOLE.batch_size, shuffle=True, rng=order)
    learner.fit(
        Augmented(batches, variations, **WHOLE.variation),
        epochs=WHOLE.epochs,
        class_weight=class_weights(data, WHOLE.balance),
        verbose=0,
    )
    _save(model, path)
    return model


def cut(variant: Variant, seed: int) -> Any:
    """The whole model, cut over the topology; not yet trained on."""
    topology = Topology.load("mobile")
    data = views("train")
    return partition(
        whole(seed),
        topology if variant.residual else topology.primary(),
        merge=variant.merge,
        byte_range=BYTES,
        classes=data.class_names,
        prior=data.prior,
        seed=seed,
    ).model


def kept(variant: Variant, seed: int) -> Path:
    """Where the cut model is after it was trained on."""
    return RESULTS / f"{_key([asdict(WHOLE), asdict(REST), asdict(variant)], seed)}.keras"


def trained(variant: Variant, seed: int) -> Any:
    """The cut model after it was trained on; from an earlier run, or now."""
    path = kept(variant, seed)
    if path.is_file():
        return load_model(path)
    model = cut(variant, seed)
    for name in model.topology.order:
        section = model.get_layer(name)
        # What never fails stays as it is, and statistics are those of inputs that arrived.
        section.trainable = name != "iot"
        for layer in _norms(section):
            layer.trainable = False
    train(
        model.topology,
        views("train"),
        method="dropout" if variant.dropout else "residual",
        survival=SURVIVABILITIES,
        recipe=REST,
        start=model,
        seed=seed,
    )
    _save(model, path)
    return model


def figures(variant: Variant | None, seed: int, part: str = "test") -> dict[str, Any]:
    """What `expected_accuracy` finds; of None, the vanilla cut as it is."""
    what = [asdict(WHOLE), variant and [asdict(REST), asdict(variant)]]
    path = RESULTS / f"{_key(what, seed)}-{part}.json"
    if not path.is_file():
        model = trained(variant, seed) if variant else cut(VARIANTS[VANILLA], seed)
        found = expected_accuracy(model, views(part), survival=SURVIVABILITIES).to_dict()
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(found))
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def bounds(part: str = "test") -> dict[str, dict[str, float]]:
    """What no model can beat on the views, by graph (`vanilla`, `skips`) and survivability."""
    data = views(part)
    topology = Topology.load("mobile")
    return {
        name: reachability_bound(graph, data.visible, data.labels, {s: s for s in SURVIVABILITIES})
        for name, graph in (("vanilla", topology.primary()), ("skips", topology))
    }


def allowed(part: str = "test", right: float = 1.0) -> dict[str, float]:
    """How much the skips let accuracy grow over the vanilla graph, by survivability.

    That is the difference of how probably a view reaches the cloud over the two graphs, times what
    it is worth that it does: the accuracy `right` of whoever sees the view, less that of the most
    frequent class, which answers for it otherwise. With `right` 1 it is the difference of `bounds`.
    """
    labels = views(part).labels
    constant = np.bincount(labels).max() / len(labels)
    found = bounds(part)
    worth = (right - constant) / (1 - constant)
    return {s: (found["skips"][s] - found["vanilla"][s]) * worth for s in SURVIVABILITIES}


def gains(
    found: Mapping[str, Any], vanilla: Mapping[str, Any], allowed: Mapping[str, float]
) -> dict[str, float]:
    """Gain of one model's figures over vanilla's as a share of what is allowed."""
    own, base = (x["expected_accuracy"] for x in (found, vanilla))
    return {s: (own[s] - base[s]) / allowed[s] for s in allowed}


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    if folder() is None:
        print("  skipped: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"  {SPLIT}:test, % at {'/'.join(SURVIVABILITIES)}, mean ± half range of {seeds} seeds")
    for name, values in bounds().items():
        told = " / ".join(f"{100 * x:.2f}" for x in values.values())
        print(f"  no model over {name:<10} {told}")
    rows: dict[str, Variant | None] = {"vanilla cut": None, **VARIANTS}
    found = {name: [figures(v, seed) for seed in range(seeds)] for name, v in rows.items()}
    for name, own in found.items():
        print(f"  {name:<30} {spreads(own, 'expected_accuracy')}", flush=True)
        print(f"  {'':<21} balanced {spreads(own, 'balanced_accuracy')}")
        alive = [100 * f["all_alive"] for f in own]
        print(f"  {'':<15} nothing failed {np.mean(alive):.2f}")
        pairs = list(zip(own, found[VANILLA], strict=True))
        if rows[name] and rows[name] != VARIANTS[VANILLA]:
            most = [{"gain": gains(f, v, allowed())} for f, v in pairs]
            print(f"  {'gain, of what the graphs allow':<30} {spreads(most, 'gain')}")
            most = [{"gain": gains(f, v, allowed(right=v["all_alive"]))} for f, v in pairs]
            print(f"  {'… a model as right as vanilla':<30} {spreads(most, 'gain')}")


def _norms(model: keras.Model) -> list[Any]:
    return [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]


def folder() -> Path | None:
    """Where the raw pictures of the cameras are."""
    found = Path(os.environ.get("DDNN_DATA", "../shared/data")) / "epfl_multiclass"
    return found if found.is_dir() else None


@cache
def _cameras() -> Dataset:
    found = folder()
    if found is None:
        raise FileNotFoundError("no cameras; DDNN_DATA=FOLDER says where they are")
    return datasets.load(found, size=SIZE)


def _save(model: keras.Model, path: Path) -> None:
    with new_file(path) as temporary:
        model.save(temporary)


def _key(what: Any, seed: int) -> str:
    return sha256(json.dumps([what, SPLIT, SIZE, ALPHA, seed]).encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
