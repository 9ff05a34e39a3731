"""Samples as Keras takes them."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.task import Classification, Several, Task


class Batches(keras.utils.PyDataset):
    """One split, in batches: an ordinary `keras.utils.PyDataset`.

    Item `i` is `(inputs, targets)`: a dictionary from sensor name to an array
    `(batch, …)` of the samples' own type, and for classes int64 labels `(batch,)`, for labels and
    values an array `(batch, names)`, for several outputs a dictionary by output. The last batch may
    be smaller. A shuffled split changes its order at the end of every epoch.

    `model.fit` also shuffles the order of the batches, from Python's global random numbers;
    call `keras.utils.set_random_seed` or pass `shuffle=False` to repeat a training exactly.

    Attributes:
        samples: The split's samples.
        visible: `(N, sensors)`, bool, sensors in the order of `inputs`: the camera sees the object.
        task: What the labels mean, with what the training data say before anything is seen, such
            as the frequency of each class.
        name: The split's name.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        visible: NDArray[np.bool_] | None = None,
        task: Task | None = None,
        name: str = "all",
        batch_size: int = 64,
        shuffle: bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Batch `samples`; `visible` defaults to all, `task` to what they say themselves.

        Args:
            samples: What to batch.
            visible: See the class.
            task: See the class.
            name: See the class.
            batch_size: Samples per batch, at least 1.
            shuffle: Whether to shuffle, now and after every epoch.
            rng: Source of the order; needed where `shuffle` is true.

        Raises:
            InputError: `batch_size` is below 1, or `shuffle` without `rng`.
        """
        super().__init__()
        if shuffle and rng is None:
            raise InputError("a shuffled split needs a generator: pass rng=np.random.default_rng()")
        self.samples = samples
        everywhere = np.ones((len(samples), len(samples.inputs)), dtype=bool)
        self.visible: NDArray[np.bool_] = everywhere if visible is None else visible
        self.task: Task = samples.learned() if task is None else task
        self.name = name
        self._rng = rng if shuffle else None
        self._order = np.arange(len(samples))
        self.batch_size = batch_size
        self.on_epoch_end()

    @property
    def batch_size(self) -> int:
        """Samples per batch; may be set."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        if size < 1:
            raise InputError(f"batch_size must be at least 1; came {size}")
        self._batch_size = int(size)

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """All arrays by sensor name, in the samples' order."""
        return self.samples.inputs

    @property
    def labels(self) -> NDArray[Any]:
        """All labels, one row a sample, in the samples' order."""
        return self.samples.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, by label. Raises `InputError` where the labels are no classes."""
        return self.samples.class_names

    @property
    def prior(self) -> tuple[float, ...]:
        """Class frequencies of the training data; `InputError` where there are no classes."""
        if not isinstance(self.task, Classification):
            raise InputError(f"the data's labels are a {self.task}, of which there is no prior")
        return self.task.prior

    def __len__(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.samples) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[dict[str, NDArray[Any]], Any]:
        """Batch `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        targets, task = self.labels[rows], self.task
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return inputs, task.split(targets) if isinstance(task, Several) else targets

    def on_epoch_end(self) -> None:
        """Draw the next epoch's order; Keras calls this."""
        if self._rng is not None:
            self._order = self._rng.permutation(len(self.samples))

    def __repr__(self) -> str:
        """The split's name and size."""
        return f"<Batches {self.name}: {len(self.samples)} samples in {len(self)} batches>"
