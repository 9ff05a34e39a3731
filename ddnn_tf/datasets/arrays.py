"""Arrays and labels as a user has them, made into samples of a topology's sensors.

`labeled_samples` is the whole; `sensor_arrays` and `class_labels` are its two halves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_runtime.arrays import Array, Labeled
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import check_same_task
from edge_runtime.samples import Samples
from edge_runtime.task import Classification, Task
from edge_runtime.topology import Sensor, Topology

from .dataset import Dataset

#: Of a user's batches: what the model takes, and the labels.
Pair = tuple[Any, Any]


def labeled_samples(x: Any, y: Any = None, *, topology: Topology, task: Task) -> Labeled:
    """Anything that holds views and labels, as samples of a topology's sensors.

    Args:
        x: what has `inputs` and `labels`, such as a split of a data set, which is returned as it
            is; a finite `tf.data.Dataset` or `keras.utils.PyDataset` of batches (x, y); or the
            views themselves, see `sensor_arrays`.
        y: the targets where `x` is the views themselves: of classes, see `class_labels`; of all
            else as the task takes them, see its `checked`. Else None.
        topology: whose sensors `x` is of.
        task: of the model.

    Raises:
        InputError: for shapes, types, lengths or labels that do not fit, data without end, NaN, and
            classes in another order.
    """
    if isinstance(x, Dataset):
        raise InputError(
            "expected one split of the data, got all of them; give a split, such as data.test"
        )
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)) or _is_labeled(x):
        if y is not None:
            raise InputError(
                f"expected no labels beside a {type(x).__name__}, which holds its own; got "
                f"{type(y).__name__}; leave it out, and give all else by name, as in survival=…"
            )
        if _is_labeled(x):
            _check_same(x, task)
            return x  # type: ignore[no-any-return]
        return _of_batches(_batches(x), topology, task)
    if y is None:
        raise InputError(
            f"expected labels beside {_kind(x)}, got none; give them as y, one a sample"
        )
    inputs = sensor_arrays(x, topology.sensors)
    return Samples(inputs, _targets(y, task), task)


def sensor_arrays(x: Any, sensors: Sequence[Sensor]) -> dict[str, Array]:
    """Views by sensor, samples first, in the sensors' own types.

    `x`: an array (samples, …) for a topology of one sensor, a mapping of one by sensor, or a tuple
    or list of them in the order of the sensors. Integers from 0 to 255 become bytes where a sensor
    gives bytes, and any number becomes float32 where it gives float32.

    Raises `InputError` for a sensor without an array, and a shape or a type that does not fit.
    """
    names = [s.name for s in sensors]
    if isinstance(x, Mapping):
        if set(x) != set(names):
            raise InputError(
                f"expected an array for each sensor ({', '.join(names)}), got "
                f"{', '.join(map(str, x)) or 'none'}; name the arrays after the sensors"
            )
        given = [x[name] for name in names]
    elif isinstance(x, (tuple, list)):
        given = list(x)
    else:
        given = [x]
    if len(given) != len(names):
        raise InputError(
            f"expected an array for each of {len(names)} sensors ({', '.join(names)}), in this "
            f"order or by name; got {len(given)}"
        )
    return {s.name: _view(s, values) for s, values in zip(sensors, given, strict=True)}


def class_labels(y: Any, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Labels, int64 (samples,): positions in the class names.

    `y`: whole numbers (samples,) or (samples, 1), one-hot rows (samples, classes), or the names of
    the classes (samples,). Raises `InputError` for anything else. Whether the numbers are in range
    `Samples` checks.
    """
    labels = _array(y, "labels")
    classes = len(class_names)
    if labels.dtype.kind == "O" and all(isinstance(x, (str, bytes)) for x in labels.flat):
        labels = np.array([x.decode() if isinstance(x, bytes) else x for x in labels.flat])
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "U":
        return _positions(labels, class_names)
    if labels.dtype.kind not in "biuf":
        raise InputError(f"labels must be numbers or names of classes; came {labels.dtype}")
    if labels.ndim == 2:
        return _from_one_hot(labels, classes)
    if labels.ndim != 1:
        raise InputError(
            f"expected labels (samples,), or one-hot rows (samples, {classes}); got {labels.shape}"
        )
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.round(labels))
        if not whole.all():
            bad = int(np.flatnonzero(~whole)[0])
            raise InputError(
                f"expected whole numbers as labels, the positions in {', '.join(class_names)}; got "
                f"{labels[bad]} of sample {bad}"
            )
    return labels.astype(np.int64)


def _is_labeled(x: Any) -> bool:
    return hasattr(x, "inputs") and hasattr(x, "labels")


def _check_same(x: Any, task: Task) -> None:
    """Refuse the same classes in another order, by which each label would mean another one."""
    own = getattr(x, "task", None)
    if own is None and getattr(x, "class_names", None) is not None:
        own = Classification(tuple(x.class_names))
    if own is not None and (own.kind != task.kind or set(own.names) == set(task.names)):
        check_same_task(own, task)


def _targets(y: Any, task: Task) -> Array:
    """Targets of one batch, as the task takes them."""
    if isinstance(task, Classification):
        return class_labels(y, task.class_names)
    return task.checked(y)


def _batches(x: Any) -> Iterable[Any]:
    """The batches of a data set that ends, or `InputError`."""
    if isinstance(x, tf.data.Dataset):
        if x.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise InputError(
                "expected data that end, got a tf.data.Dataset without end, as repeat() makes it; "
                "take a number of batches: data.take(100)"
            )
        return x.as_numpy_iterator()  # type: ignore[no-any-return]
    if x.num_batches is None:
        raise InputError(
            f"expected data that end, got a {type(x).__name__} without a number of batches; give "
            "it a __len__"
        )
    return (x[i] for i in range(x.num_batches))


def _of_batches(batches: Iterable[Any], topology: Topology, task: Task) -> Samples:
    views: list[dict[str, Array]] = []
    targets: list[Array] = []
    for number, batch in enumerate(batches):
        try:
            x, y = _pair(batch)
            views.append(sensor_arrays(x, topology.sensors))
            targets.append(_targets(y, task))
        except InputError as error:
            raise InputError(f"batch {number} of the data: {error}") from error
    if not views:
        raise InputError("expected data with a batch at least, got none")
    inputs = {name: np.concatenate([v[name] for v in views]) for name in views[0]}
    return Samples(inputs, np.concatenate(targets), task)


def _pair(batch: Any) -> Pair:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        came = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else _kind(batch)
        raise InputError(
            f"expected (x, y), the views and their labels; got {came}; every sample weighs alike, "
            "so give no weights"
        )
    return batch[0], batch[1]


def _view(sensor: Sensor, given: Any) -> Array:
    """One sensor's views, in its own type."""
    where = f"sensor {sensor.name!r}"
    values = _array(given, where)
    wanted = ", ".join(map(str, ("samples", *sensor.shape)))
    if values.shape == sensor.shape:
        raise InputError(
            f"{where}: expected ({wanted}), got {values.shape}, one sample without an axis of "
            "samples; give array[None], or batches: data.batch(64)"
        )
    if values.ndim == 0 or values.shape[1:] != sensor.shape:
        raise InputError(f"{where}: expected ({wanted}), got {values.shape}; reshape the array")
    if values.dtype.kind not in "biuf":
        raise InputError(f"{where}: expected numbers, got {values.dtype}")
    if sensor.dtype == "float32":
        return values.astype(np.float32, copy=False)
    if values.dtype.kind == "f":
        raise InputError(
            f"{where} gives bytes, got {values.dtype}; give the pictures as uint8 from 0 to 255, "
            "before they are scaled"
        )
    if values.size and (values.min() < 0 or values.max() > 255):
        raise InputError(
            f"{where} gives bytes, got numbers from {values.min()} to {values.max()}; expected 0 "
            "to 255"
        )
    return values.astype(np.uint8, copy=False)


def _array(given: Any, where: str) -> Array:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected an array, got {_kind(given)} ({error})") from error


def _positions(labels: Array, class_names: Sequence[str]) -> NDArray[np.int64]:
    places = {name: i for i, name in enumerate(class_names)}
    unknown = sorted(set(labels.ravel().tolist()) - set(places))
    if unknown or labels.ndim != 1:
        raise InputError(
            f"expected labels (samples,) among {', '.join(class_names)}; got "
            f"{', '.join(unknown) or labels.shape}"
        )
    return np.array([places[name] for name in labels.tolist()], np.int64)


def _from_one_hot(labels: Array, classes: int) -> NDArray[np.int64]:
    if labels.shape[1] != classes:
        raise InputError(
            f"expected labels (samples,), or one-hot rows (samples, {classes}); got {labels.shape}"
        )
    right = np.isin(labels, (0, 1)).all(axis=1) & (labels.sum(axis=1) == 1)
    if not right.all():
        bad = int(np.flatnonzero(~right)[0])
        raise InputError(
            f"expected one-hot rows as labels, a single 1 in each; got {labels[bad].tolist()} of "
            f"sample {bad}"
        )
    return np.asarray(labels.argmax(axis=1), np.int64)


def _kind(x: Any) -> str:
    """What something is, for an error."""
    shape = getattr(x, "shape", None)
    return type(x).__name__ if shape is None else f"{type(x).__name__} of shape {tuple(shape)}"
