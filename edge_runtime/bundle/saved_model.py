"""SavedModel: the only file here that imports TensorFlow, for nodes that ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array, TensorSpec
from ..errors import InputError
from ..files import read_checked
from ..process.stderr import suppress_native_stderr
from .litert import EXIT, MESSAGE
from .manifest import NodeManifest

#: Within a node's folder; 1 is the version, as TensorFlow Serving wants it.
FOLDER = "saved_model/1"


class SavedModelSection:
    """One section as a SavedModel, run by TensorFlow; stands in for `LiteRTSection`.

    `inputs`: shape and dtype of each input by name; `has_exit`: see `LiteRTSection`.

    Raises `InputError` where the node was exported without a SavedModel, a file of it is missing,
    damaged or additional, or TensorFlow is not installed.
    """

    def __init__(self, folder: str | Path, manifest: NodeManifest) -> None:
        where = Path(folder) / FOLDER
        _check_files(Path(folder), manifest)
        try:
            with suppress_native_stderr():
                import tensorflow as tf

                # A section is small: threads of its own cost more than they bring.
                _try_one_thread(tf)
                self._model = tf.saved_model.load(str(where))
        except ModuleNotFoundError as error:
            raise InputError(
                'running a SavedModel needs TensorFlow: pip install "ddnn-tf[train]"'
            ) from error
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise InputError(f"{where}: not a SavedModel: {error}; export it again") from error
        self._constant = tf.constant
        self.has_exit = manifest.exit
        name = EXIT if manifest.exit else MESSAGE
        signature = self._model.signatures.get(name)
        if signature is None:
            raise InputError(f"{where}: expected a signature {name}; export it again")
        self._signature = signature
        _, specs = signature.structured_input_signature
        self.inputs: Mapping[str, TensorSpec] = {
            name: TensorSpec(
                tuple(int(d) for d in spec.shape[1:]), np.dtype(spec.dtype.as_numpy_dtype).name
            )
            for name, spec in specs.items()
        }
        if self.inputs != manifest.inputs:
            raise InputError(
                f"{where}: expected inputs {', '.join(sorted(manifest.inputs))} as in node.json, "
                f"got {', '.join(sorted(self.inputs))}; export the bundle again"
            )
        self._outputs = [f"output_{k}" for k in range(len(manifest.outputs))]
        if set(signature.structured_outputs) != set(self._outputs):
            raise InputError(
                f"{where}: expected outputs {', '.join(self._outputs)}, got "
                f"{', '.join(signature.structured_outputs)}; export the bundle again"
            )

    def __call__(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """Evaluate on all inputs, each with the batch first; outputs in the section's order.

        Of a node with an exit: what it sends.
        """
        outputs = self.with_exit(inputs)
        return outputs[:-1] if self.has_exit else outputs

    def with_exit(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """As when called, and last what the node's exit answers, if it has one."""
        results = self._signature(**{n: self._constant(x) for n, x in inputs.items()})
        return tuple(results[name].numpy() for name in self._outputs)


def _check_files(folder: Path, manifest: NodeManifest) -> None:
    """TensorFlow reads the folder by itself, so all that lies there must be what was exported."""
    promised = {name for name in manifest.files if name.startswith(f"{FOLDER}/")}
    if not promised:
        raise InputError(
            f"{folder}: node {manifest.node!r} was exported without a SavedModel; export it with "
            f"--saved-model {manifest.node}, or leave --backend at litert"
        )
    for name in promised:
        read_checked(folder / name, manifest.files[name])
    there = (path for path in (folder / FOLDER).rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix() for path in there}
    if unknown := sorted(found - promised):
        raise InputError(f"{folder / unknown[0]}: node.json does not name it; copy it again")


def _try_one_thread(tf: Any) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow runs already, with the threads that somebody gave it
