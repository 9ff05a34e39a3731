"""A user's model from the file he has: `.keras`, `.h5`, or a SavedModel folder.

What it is trained with is left out, since a cut needs none of it, but for the name of the loss.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras

from edge_runtime.errors import InputError
from export.bridge import legacy

from .graph import words_of
from .keras2 import mended

# What Keras, zipfile and h5py raise for a damaged file.
_DAMAGED = (
    ValueError,
    OSError,
    KeyError,
    TypeError,
    RuntimeError,
    AttributeError,
    IndexError,
    zipfile.BadZipFile,
    zlib.error,
)
_EXPECTED = "expected a .keras file, a .h5 file of a whole model, or a SavedModel folder of Keras 2"
#: Wrappers of tensorflow-model-optimization, and what takes them off.
_PRUNED = "tfmot.sparsity.keras.strip_pruning(model)"
_CLUSTERED = "tfmot.clustering.keras.strip_clustering(model)"
_WRAPPERS: Mapping[str, str] = {
    "PruneLowMagnitude": f"save what {_PRUNED} gives",
    "ClusterWeights": f"save what {_CLUSTERED} gives",
} | dict.fromkeys(
    ("QuantizeAnnotate", "QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2"),
    "save the model from before tfmot.quantization.keras.quantize_model, and let `ddnn export` "
    "quantize it (--quantize int8)",
)


@dataclass(frozen=True)
class LoadedModel:
    """A model, and what it was trained for.

    `loss`: as its file writes it (a name, a configuration with `class_name`, or several by
    output); None where the file says nothing.
    """

    model: keras.Model
    loss: Any = None


@dataclass(frozen=True)
class _File:
    """What a model's file says of itself: its configuration, who wrote it, its loss."""

    suffix: str
    config: dict[str, Any]
    version: str
    loss: Any


def read_model(path: str | Path, *, compile: bool = False) -> LoadedModel:
    """Read any Keras model.

    Args:
        path: a `.keras` or `.h5` file, by whichever Keras since 2.0, or a SavedModel folder that
            Keras 2 wrote.
        compile: also with its optimizer, loss and metrics, where those can be had.

    Raises:
        InputError: for what is missing, damaged or no Keras model, a layer whose class is not
            known, a model that tensorflow-model-optimization wraps, or one that Keras 2 wrote and
            Keras 3 cannot express; it names the layer and what to do.
    """
    path = Path(path)
    # That spellings are old is why they are mended here.
    with (
        tempfile.TemporaryDirectory(prefix="ddnn-") as folder,
        warnings.catch_warnings(action="ignore"),
    ):
        file = path
        if path.is_dir():
            file = _of_folder(path, Path(folder))
        said = _read(file, path)
        _refuse_wrappers(said.config, path)
        try:
            if said.version.startswith(("1.", "2.")):
                file = _mended(file, said, Path(folder), path)
            elif file.suffix != said.suffix:
                file = Path(shutil.copyfile(file, Path(folder) / f"model{said.suffix}"))
            return LoadedModel(_loaded(file, compile), said.loss)
        except InputError:
            raise
        except _DAMAGED as error:
            raise _refusal(path, said, error) from error


def _loaded(file: Path, compile: bool) -> keras.Model:
    if not compile:
        return keras.models.load_model(file, compile=False)
    try:
        return keras.models.load_model(file)
    except _DAMAGED:  # of a loss or a metric of the user's own, which only training needs
        return keras.models.load_model(file, compile=False)


def _refusal(path: Path, said: _File, error: Exception) -> InputError:
    """Why a model cannot be made of what a file says."""
    # Keras tells of a layer inside of all that it is in; what matters comes last.
    words = words_of(error, 100_000).rpartition("Exception encountered: ")[2]
    unknown = re.search(r"(?:Could not locate (?:class|function)|Unknown layer:) '(\w+)'", words)
    # Keras says so of its own Lambdas; those of Keras 2 fail in many ways.
    is_lambda = any(x["class_name"] == "Lambda" for x in _walk(said.config))
    kind = unknown[1] if unknown else "Lambda" if is_lambda else ""
    if not kind and (named := _with_lambda(said.config)):
        return InputError(
            f"{path}: {named} is a lambda, which a file does not hold; write a function of your "
            "own, register it with @keras.saving.register_keras_serializable(), save the model "
            "with it, and name the file that does so: --import LAYERS.py"
        )
    if not kind:
        by = f" (it was written by Keras {said.version})" if said.version.startswith("2") else ""
        return InputError(
            f"{path}: not a Keras model that this version reads{by}: {words[:300]}; train it again"
        )
    layers = _layers_of(said.config, kind)
    operations = {name.replace("_", "") for name in vars(keras.ops)}
    if said.suffix == ".h5" and kind.lower() in operations and not hasattr(keras.layers, kind):
        return InputError(
            f"{path}: {layers}, is an operation of keras.ops ({kind}), which Keras writes to HDF5 "
            "and does not read from there; save the model as .keras from the program that made it"
        )
    return InputError(
        f"{path}: {layers} of class {kind}, which a file does not hold; write a layer class of "
        "your own, register it with @keras.saving.register_keras_serializable(), and name the "
        "file that does so: --import LAYERS.py"
    )


# -- what a file says of itself --------------------------------------------------------------------


def _read(file: Path, path: Path) -> _File:
    """The configuration in a file; `InputError` where there is none."""
    try:
        with file.open("rb") as start:
            magic = start.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_EXPECTED}") from error
    try:
        if magic.startswith(b"PK"):
            return _read_archive(file, path)
        if magic == b"\x89HDF\r\n\x1a\n":
            return _read_hdf5(file, path)
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(
            f"{path}: not a Keras model that this version reads ({error}); train it again"
        ) from error
    raise InputError(
        f"{path}: not a Keras model that this version reads (neither an archive nor HDF5); "
        f"{_EXPECTED}; save it from Keras, as in model.save('model.keras'), or train it again"
    )


def _read_archive(file: Path, path: Path) -> _File:
    with zipfile.ZipFile(file) as archive:
        if "config.json" not in archive.namelist():
            raise InputError(
                f"{path}: not a Keras model that this version reads (an archive without "
                f"config.json, as other programs write); {_EXPECTED}; save it from Keras, as in "
                "model.save('model.keras'), or train it again"
            )
        config = json.loads(archive.read("config.json"))
        about = json.loads(archive.read("metadata.json"))
    compiled = config.get("compile_config") or {}
    return _File(".keras", config, str(about.get("keras_version", "")), compiled.get("loss"))


def _read_hdf5(file: Path, path: Path) -> _File:
    with h5py.File(file, "r") as content:
        said = {key: _text(value) for key, value in content.attrs.items()}
    if "model_config" not in said:
        raise InputError(
            f"{path}: holds weights alone and not the model that they are of; make the model in "
            "Python, give it the weights with model.load_weights(path), and save it as .keras"
        )
    training = json.loads(said.get("training_config", "null")) or {}
    # The first Keras wrote no version.
    version = said.get("keras_version", "1.0")
    return _File(".h5", json.loads(said["model_config"]), version, training.get("loss"))


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _walk(item: Any) -> Iterator[dict[str, Any]]:
    """Everything in a configuration that has a class, from the outside in."""
    if isinstance(item, dict):
        if isinstance(item.get("class_name"), str):
            yield item
        for inner in item.values():
            yield from _walk(inner)
    elif isinstance(item, list):
        for inner in item:
            yield from _walk(inner)


def _layers_of(config: Any, kind: str) -> str:
    """The layers of one class, for an error."""
    found = [
        repr(x.get("name") or x["config"].get("name"))
        for x in _walk(config)
        if x["class_name"] == kind and isinstance(x.get("config"), dict)
    ]
    names = list(dict.fromkeys(found))
    if not names:
        return "a layer"
    return f"layer {names[0]}" if len(names) == 1 else f"layers {', '.join(names)}, each"


def _with_lambda(config: Any) -> str:
    """The first argument of a layer that is a lambda, for an error; empty where there is none."""
    for layer in _walk(config):
        own = layer.get("config")
        if not isinstance(own, dict):
            continue
        for key, value in own.items():
            kind = value.get("class_name") if isinstance(value, dict) else value
            code = isinstance(value, dict) and set(value) == {"value"}
            if code or kind in ("<lambda>", "__lambda__"):
                return f"the {key} of layer {own.get('name')!r}"
    return ""


def _refuse_wrappers(config: Any, path: Path) -> None:
    """`InputError` for a model as tensorflow-model-optimization trains it."""
    for item in _walk(config):
        kind = item["class_name"].rpartition(">")[2]
        if kind in _WRAPPERS:
            raise InputError(
                f"{path}: {_layers_of(config, item['class_name'])} of class {kind}: a wrapper with "
                "which tensorflow-model-optimization trains, and which is to be taken off first; "
                f"{_WRAPPERS[kind]}"
            )


# -- files of Keras 2 ------------------------------------------------------------------------------


def _mended(file: Path, said: _File, folder: Path, path: Path) -> Path:
    """A copy of a file whose configuration is as Keras 3 writes it."""
    try:
        config = json.dumps(mended(said.config))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    copy = folder / f"mended{said.suffix}"
    if said.suffix == ".h5":
        shutil.copyfile(file, copy)
        with h5py.File(copy, "r+") as content:
            content.attrs["model_config"] = config
        return copy
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(copy, "w") as new:
        for entry in old.infolist():
            # As it comes, so that a large one is never held whole.
            with old.open(entry) as source, new.open(entry.filename, "w") as target:
                if entry.filename == "config.json":
                    target.write(config.encode())
                else:
                    shutil.copyfileobj(source, target)
    return copy


def _of_folder(path: Path, folder: Path) -> Path:
    """The Keras model of a SavedModel folder as a file; `InputError` where it holds none."""
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: a folder without saved_model.pb; {_EXPECTED}")
    if not (path / "keras_metadata.pb").is_file():
        raise InputError(
            f"{path}: a SavedModel that holds what a model computes, and not the Keras layers, "
            "between which a cut is made (no keras_metadata.pb); save the model itself from the "
            "program that made it: model.save('model.keras')"
        )
    old, _ = legacy()
    file = folder / "model.h5"
    try:
        try:
            old.models.load_model(path).save(file)
        except (*_DAMAGED, NotImplementedError):  # of its loss, say, which a cut does not need
            old.models.load_model(path, compile=False).save(file, include_optimizer=False)
    except (*_DAMAGED, NotImplementedError) as error:
        words = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path}: no Keras model of layers can be had from this SavedModel ({words}); save it "
            "from the program that made it: model.save('model.keras')"
        ) from error
    return file
