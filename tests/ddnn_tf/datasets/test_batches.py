"""Splits as Keras takes them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from ddnn_tf.datasets import Batches
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples


def samples(count: int = 10) -> Samples:
    values = np.arange(count, dtype=np.uint8)
    inputs: dict[str, NDArray[Any]] = {
        "a": np.repeat(values[:, None], 3, axis=1),
        "b": values[:, None].astype(np.float32),
    }
    return Samples(inputs, values.astype(np.int64) % 3, ("x", "y", "z"))


def order(batches: Batches) -> list[int]:
    return [int(v) for i in range(len(batches)) for v in batches[i][0]["a"][:, 0]]


def test_batches_cover_the_samples_in_order() -> None:
    batches = Batches(samples(), batch_size=4)
    assert len(batches) == 3
    assert order(batches) == list(range(10))
    inputs, labels = batches[2]
    assert {name: (v.shape, v.dtype.name) for name, v in inputs.items()} == {
        "a": ((2, 3), "uint8"),
        "b": ((2, 1), "float32"),
    }
    assert labels.tolist() == [2, 0]
    assert labels.dtype == np.int64
    batches.on_epoch_end()
    assert order(batches) == list(range(10))
    with pytest.raises(IndexError):
        batches[3]


def test_shuffled_batches_change_every_epoch_and_repeat_from_the_seed() -> None:
    runs = []
    for _ in range(2):
        batches = Batches(samples(), shuffle=True, rng=np.random.default_rng(1))
        epochs = []
        for _ in range(2):
            epochs.append(order(batches))
            batches.on_epoch_end()
        runs.append(epochs)
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    assert sorted(runs[0][1]) == list(range(10))
    assert batches.labels.tolist() == samples().labels.tolist()


def test_defaults_and_batch_size() -> None:
    batches = Batches(samples())
    assert batches.visible.shape == (10, 2)
    assert batches.visible.all()
    assert batches.prior == (0.4, 0.3, 0.3)
    assert batches.class_names == ("x", "y", "z")
    batches.batch_size = 5
    assert len(batches) == 2
    assert "10 samples in 2 batches" in repr(batches)
    with pytest.raises(InputError, match="batch_size must be at least 1; came 0"):
        batches.batch_size = 0
    with pytest.raises(InputError, match="a shuffled split needs a generator"):
        Batches(samples(), shuffle=True)


def test_keras_takes_them() -> None:
    inputs = {
        "a": keras.Input((3,), name="a", dtype="uint8"),
        "b": keras.Input((1,), name="b", dtype="float32"),
    }
    wide = keras.layers.Rescaling(0.1)(inputs["a"])
    joined = keras.layers.Concatenate()([wide, inputs["b"]])
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(joined))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    train = Batches(samples(), shuffle=True, rng=np.random.default_rng(0), batch_size=4)
    validation = Batches(samples(4))
    history = model.fit(train, validation_data=validation, epochs=2, verbose=0)
    assert len(history.history["val_loss"]) == 2
    assert model.predict(Batches(samples()), verbose=0).shape == (10, 3)
    model.evaluate(validation, verbose=0)
