"""The state of a training on disk, from which an interrupted one goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from edge_runtime.errors import InputError
from edge_runtime.files import new_file


class Checkpoint(keras.callbacks.Callback):
    """The state after each epoch, whole or absent, beside a description of the training.

    Not Keras' BackupAndRestore, which goes on with the state of any training whose weights fit,
    cannot read what an interruption left half-written, and removes the folder with all in it.
    """

    DESCRIPTION = "training.json"
    STATE = "training.weights.h5"

    def __init__(self, folder: Path, training: Mapping[str, Any]) -> None:
        super().__init__()
        self.folder = folder
        self.description = folder / self.DESCRIPTION
        self.state = folder / self.STATE
        self.training = json.dumps(training, indent=1)

    def restore(self, model: keras.Model) -> int:
        """Give the model the state that is there; returns after how many steps it was saved."""
        remedy = f"remove {self.folder} to start again, or name another folder"
        if not self.state.is_file():
            with new_file(self.description) as temporary:
                temporary.write_text(self.training, encoding="utf-8")
            return 0
        try:
            if self.description.read_text(encoding="utf-8") != self.training:
                raise InputError(
                    f"{self.folder} holds the state of another training, see "
                    f"{self.description.name} there; train in the same way, or {remedy}"
                )
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self.state)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{self.state} is damaged ({error}); {remedy}") from error
        return int(model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save."""
        with new_file(self.state) as temporary:
            self.model.save_weights(temporary)


def clear_checkpoint(folder: Path) -> None:
    """Remove a training's state, and the folder where nothing else is in it."""
    for name in (Checkpoint.DESCRIPTION, Checkpoint.STATE):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()
