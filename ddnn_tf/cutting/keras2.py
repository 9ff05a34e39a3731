"""The configuration of a model that Keras 2 wrote, as Keras 3 spells it.

Keras 3 reads such files in part: it stumbles over arguments that are gone, over nested models and
operations, and takes `hard_sigmoid`, which is another function today, without a word.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from edge_runtime.errors import InputError

_PACKAGE = "ddnn_tf"
_MODELS = ("Functional", "Model", "Sequential")
#: What only decides how weights start and are held while they are trained.
_ONLY_TRAINS = ("_initializer", "_regularizer", "_constraint")
#: Arguments that are gone, and that changed nothing of what a layer computes.
_WITHOUT_EFFECT = frozenset(
    {"fused", "implementation", "input_dim", "input_dtype", "input_length", "query_shape"}
    | {"batch_input_shape", "key_shape", "rng_type", "trainable", "value_shape"}
    | {"function_type", "module", "output_shape_module", "output_shape_type"}
)
#: Where TensorFlow has functions that compute, and nothing else: a file may name any.
_COMPUTING = ("math.", "nn.", "linalg.", "__operators__.")
_SHAPING = frozenset(
    {"broadcast_to", "cast", "clip_by_value", "concat", "expand_dims", "identity", "pad", "reshape"}
    | {"reverse", "split", "squeeze", "stack", "tile", "transpose", "unstack", "where"}
)
#: Layers that Keras 3 no longer has.
_GONE = frozenset(
    {"CuDNNGRU", "CuDNNLSTM", "DenseFeatures", "LocallyConnected1D", "LocallyConnected2D"}
    | {"Highway", "MaxoutDense", "Merge", "RandomFourierFeatures", "TimeDistributedDense"}
)
_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
#: The layer that a number comes from, which is none.
_NUMBER = "_CONSTANT_VALUE"
#: Stands for a tensor of the graph; only its history is read.
_TENSOR = {"shape": [None], "dtype": "float32"}


@keras.saving.register_keras_serializable(_PACKAGE)
def hard_sigmoid_of_keras2(x: Any) -> Any:
    """What Keras 2 calls `hard_sigmoid`: x/5 + 1/2 within 0 and 1; today's is x/6 + 1/2."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@keras.saving.register_keras_serializable(_PACKAGE)
class OperationOfKeras2(keras.layers.Layer):
    """A function of TensorFlow, called on tensors of a graph; Keras 2 keeps its name alone."""

    def __init__(self, function: str, **options: Any) -> None:
        super().__init__(**options)
        self.function = function
        self._apply = _function(function, self.name)

    def call(self, *tensors: Any, numbers: Any = (), **kwargs: Any) -> Any:
        """Call the function; `None` is an argument that was not given.

        `numbers`: what stands between the tensors, each with its place.
        """
        args = list(tensors)
        for place, number in numbers:
            args.insert(place, number)
        return self._apply(*args, **{k: _sliced(v) for k, v in kwargs.items() if v is not None})

    def get_config(self) -> dict[str, Any]:
        """The function's name."""
        return {**super().get_config(), "function": self.function}


def _function(name: str, layer: str) -> Any:
    """The function of TensorFlow with this name, where it computes and nothing else."""
    if not name.startswith(_COMPUTING) and name not in _SHAPING:
        raise InputError(
            f"layer {layer!r} calls tf.{name}, as Keras 2 wrote it; expected a function that "
            "computes: write it as a layer where the model is made, and save it again"
        )
    found: Any = tf
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise InputError(f"layer {layer!r} calls tf.{name}, which TensorFlow no longer has")
    return found


def _sliced(value: Any) -> Any:
    """Slices, which Keras 2 writes as their three numbers."""
    if isinstance(value, Mapping) and set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    if isinstance(value, list | tuple) and any(isinstance(x, Mapping) for x in value):
        return tuple(_sliced(x) for x in value)
    return value


def mended(config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's configuration by Keras 2 in the words of Keras 3.

    Raises:
        InputError: for a layer that Keras 3 cannot express; it names the layer and what it has.
    """
    found: dict[str, Any] = _mended(config)
    return found


def _mended(item: Any) -> Any:
    if isinstance(item, list):
        return [_mended(x) for x in item]
    if not isinstance(item, Mapping):
        return item
    inner = {key: _mended(value) for key, value in item.items()}
    if not (isinstance(item.get("class_name"), str) and "config" in item):
        return inner
    kind, config = inner["class_name"], inner["config"]
    if kind == "Policy":  # of mixed precision
        return config["name"]
    if kind in _MODELS:
        return _model(inner)
    if kind in _OPERATIONS:
        return _operation(inner)
    if isinstance(config, dict) and isinstance(getattr(keras.layers, kind, None), type):
        return _layer(inner, kind, config)
    if kind == "ThresholdedReLU":
        return _layer({**inner, "class_name": "ReLU"}, "ReLU", _threshold(config))
    if kind in _GONE:
        name = config.get("name") or inner.get("name")
        raise InputError(
            f"layer {name!r} of class {kind}, which Keras 2 had and Keras 3 does not; make the "
            "model with another layer in Keras 3, and give it the weights of the old one"
        )
    return inner


def _layer(layer: dict[str, Any], kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """A layer without the arguments that are gone, with those whose meaning changed."""
    taken = _parameters(getattr(keras.layers, kind))
    name = config.get("name") or layer.get("name")
    kept: dict[str, Any] = {}
    for key, value in config.items():
        if key in taken or (key == "batch_input_shape" and kind == "InputLayer"):
            kept[key] = _activation(value) if key.endswith("activation") else value
        elif not _without_effect(key, value):
            raise InputError(
                f"layer {name!r} ({kind}) was written by Keras 2 with {key}={value!r}, which "
                "Keras 3 does not have; make the model without it in Keras 3, and give it the "
                "weights of the old one"
            )
    if kind == "GRU":
        kept.setdefault("reset_after", False)  # as the first Keras 2 had it, and did not write
    if kind == "Attention" and kept.get("score_mode") == "dot":
        del kept["score_mode"]  # is the default, and Keras 3 takes it for the name of a function
    if isinstance(kept.get("axis"), list) and len(kept["axis"]) == 1:
        (kept["axis"],) = kept["axis"]
    made = {**layer, "config": kept}
    made.pop("build_config", None)
    if "module" in made:
        made |= {"module": "keras.layers", "registered_name": None}
    return made


def _parameters(kind: type) -> set[str]:
    """All arguments that a class of layers takes; a base class's where it hands them on."""
    found = {"alpha"} if kind.__name__ == "LeakyReLU" else set()
    for base in kind.__mro__:
        init = vars(base).get("__init__")
        own = inspect.signature(init).parameters if init else {}
        found |= set(own)
        if own and not any(x.kind is inspect.Parameter.VAR_KEYWORD for x in own.values()):
            break
    return found


def _without_effect(key: str, value: Any) -> bool:
    """Whether an argument that is gone is one that is off, or changes no answer."""
    off = value is None or value is False or (key == "groups" and value == 1)
    return off or key in _WITHOUT_EFFECT or key.endswith(_ONLY_TRAINS)


def _activation(value: Any) -> Any:
    """An activation that still is the same function under its name; else ours."""
    if value != "hard_sigmoid":
        return value
    name = keras.saving.get_registered_name(hard_sigmoid_of_keras2)
    return {
        "module": "builtins",
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def _threshold(config: Mapping[str, Any]) -> dict[str, Any]:
    """`ThresholdedReLU` as the general one."""
    names = {k: v for k, v in config.items() if k in ("name", "trainable", "dtype")}
    return {**names, "threshold": config["theta"]}


def _operation(layer: dict[str, Any]) -> dict[str, Any]:
    """A call of a TensorFlow function as a layer of ours."""
    config = layer["config"]
    made = {
        **layer,
        "module": None,
        "class_name": "OperationOfKeras2",
        "registered_name": f"{_PACKAGE}>OperationOfKeras2",
        "config": {"name": config["name"], "function": config["function"]},
    }
    _function(config["function"], config["name"])
    return made


# -- graphs ----------------------------------------------------------------------------------------


def _model(model: dict[str, Any]) -> dict[str, Any]:
    """A model, itself or nested, whose graph is as Keras 3 counts calls."""
    kind, config = model["class_name"], model["config"]
    if isinstance(config, list):  # a Sequential of the first Keras 2
        config = {"name": "sequential", "layers": config}
    made = {**model, "config": config}
    made.pop("build_config", None)
    if "module" in made:
        where = "keras.src.models.functional" if kind == "Functional" else "keras"
        made |= {
            "module": where,
            "registered_name": "Functional" if kind == "Functional" else None,
        }
    if kind == "Sequential":
        return made
    layers = {layer["name"]: layer for layer in config["layers"]}
    first = _first_calls(config, layers)
    made["config"] = {
        **config,
        "layers": [
            {**x, "inbound_nodes": [_node(n, first, x, layers) for n in x["inbound_nodes"]]}
            for x in config["layers"]
        ],
        # Of functional ones Keras 3 itself takes the call off that they are made with.
        "output_layers": _counted(
            config["output_layers"],
            {k: v for k, v in first.items() if layers[k]["class_name"] == "Sequential"},
        ),
    }
    return made


def _references(item: Any, layers: Mapping[str, Any]) -> Iterator[list[Any]]:
    """All mentions of a tensor: layer, which of its calls, which of the call's outputs."""
    if isinstance(item, list):
        if _is_reference(item, layers):
            yield item
            item = item[3:]
        for inner in item:
            yield from _references(inner, layers)
    elif isinstance(item, Mapping):
        for inner in item.values():
            yield from _references(inner, layers)


def _is_reference(item: Any, layers: Mapping[str, Any]) -> bool:
    return (
        isinstance(item, list)
        and len(item) in (3, 4)
        and isinstance(item[0], str)
        and (item[0] in layers or item[0] == _NUMBER)
        and isinstance(item[1], int)
    )


def _first_calls(config: Mapping[str, Any], layers: Mapping[str, Any]) -> dict[str, int]:
    """The number of the first call of each nested model: 1 where its own making was counted."""
    seen: dict[str, int] = {}
    graph = [[layer["inbound_nodes"] for layer in config["layers"]], config["output_layers"]]
    for name, call, *_ in _references(graph, layers):
        if name in layers and layers[name]["class_name"] in _MODELS:
            seen[name] = min(call, seen.get(name, call))
    return seen


def _counted(item: Any, first: Mapping[str, int]) -> Any:
    """References whose calls count from 0 on."""
    if isinstance(item, list):
        if item and isinstance(item[0], str) and item[0] in first:
            return [item[0], item[1] - first[item[0]], *item[2:]]
        return [_counted(x, first) for x in item]
    if isinstance(item, Mapping):
        return {key: _counted(value, first) for key, value in item.items()}
    return item


def _node(
    node: Any, first: Mapping[str, int], layer: Mapping[str, Any], layers: Mapping[str, Any]
) -> Any:
    """One call; where tensors or numbers stand among its arguments, as Keras 3 writes calls."""
    node = _counted(node, first)
    calls = _inputs(node)
    is_operation = layer["class_name"] == "OperationOfKeras2"
    if not is_operation and not any(
        len(x) == 4 and any(True for _ in _references(list(x[3].values()), layers)) for x in calls
    ):
        return node
    arguments = [_tensors(x[:3], layers) for x in calls if x[0] != _NUMBER]
    numbers = [[place, x[2]] for place, x in enumerate(calls) if x[0] == _NUMBER]
    options = calls[0][3] if len(calls[0]) == 4 else {}
    kwargs = {k: _tensors(v, layers) for k, v in options.items() if k != "name" or not is_operation}
    if numbers:
        kwargs["numbers"] = numbers
    # A layer of one input has it in a list, too; an operation has a list only where it takes one.
    takes_list = not isinstance(node[0], str) and (len(calls) > 1 or is_operation)
    return {"args": [arguments] if takes_list else arguments, "kwargs": kwargs}


def _inputs(node: Any) -> list[Any]:
    """The tensors of a call: one reference, or a list of them."""
    return [node] if isinstance(node[0], str) else list(node)


def _tensors(item: Any, layers: Mapping[str, Any]) -> Any:
    if _is_reference(item, layers):
        if item[0] == _NUMBER:
            return item[2]
        return {
            "class_name": "__keras_tensor__",
            "config": {**_TENSOR, "keras_history": item[:3]},
        }
    if isinstance(item, list):
        return [_tensors(x, layers) for x in item]
    if isinstance(item, Mapping):
        return {key: _tensors(value, layers) for key, value in item.items()}
    return item
