"""A functional Keras model as a flat list of calls, its nested models opened up."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.transport.wire import DTYPES
from export.culprit import calls_of

SENDABLE = frozenset(dtype.name for dtype in DTYPES.values())


@dataclass(eq=False)
class Value:
    """A tensor of a graph: an input of the model (`call` is None), or what a call gives.

    `shape` is without the batch axis; `masked` says that Keras hands a mask on beside it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    call: Call | None = None
    masked: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of one sample."""
        return int(np.prod([d or 0 for d in self.shape], dtype=np.int64)) * _itemsize(self.dtype)

    @property
    def obstacle(self) -> str | None:
        """Why it cannot travel over a link; None if it can."""
        if any(d is None for d in self.shape):
            return f"its output has the dynamic shape {(None, *self.shape)}"
        if self.dtype not in SENDABLE:
            return f"its output is {self.dtype}, which no message carries"
        if self.masked:
            return "its output has a Keras mask beside it, which no message carries"
        return None if 0 not in self.shape else f"its output is empty, {(None, *self.shape)}"


@dataclass(eq=False)
class Call:
    """One call of a layer, or of another Keras operation.

    `name` is the layer's, after those of the nested models that it was in: `outer/inner`; `args`
    and `kwargs` are those of the call, with a `Value` in the place of each tensor.
    """

    name: str
    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Value, ...] = ()

    @cached_property
    def inputs(self) -> tuple[Value, ...]:
        """The tensors it takes, each once."""
        leaves = keras.tree.flatten((self.args, self.kwargs))
        return tuple(dict.fromkeys(x for x in leaves if isinstance(x, Value)))

    @property
    def stateful(self) -> bool:
        """Whether it has weights, which can be in one place only."""
        return bool(getattr(self.operation, "weights", ()))

    @cached_property
    def work(self) -> float:
        """Multiplications of one sample, roughly: each kernel at each place, and each output.

        Kernels of recurrent layers count once a step.
        """
        out = self.outputs[0].shape
        places = _size(out[:-1])
        if isinstance(self.operation, keras.layers.RNN):
            places = self.inputs[0].shape[0] or 1
        kernels = [_size(w.shape) for w in getattr(self.operation, "weights", ()) if w.ndim > 1]
        return float(sum(kernels) * places + sum(_size(x.shape) for x in self.outputs))

    def run(self, values: Mapping[Value, Any], operation: Any = None, **options: Any) -> Any:
        """Call the operation, or another in its stead, on what stands for its inputs."""
        args, kwargs = keras.tree.map_structure(
            lambda x: values[x] if isinstance(x, Value) else x, (self.args, self.kwargs)
        )
        return (operation or self.operation)(*args, **{**kwargs, **options})


@dataclass(frozen=True, eq=False)
class Graph:
    """All calls that a model's outputs need, each after those whose tensors it takes."""

    name: str
    inputs: tuple[Value, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...]
    nested: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    @cached_property
    def consumers(self) -> Mapping[Value, tuple[Call, ...]]:
        """Which calls take each tensor."""
        found: dict[Value, list[Call]] = {}
        for call in self.calls:
            for value in call.inputs:
                found.setdefault(value, []).append(call)
        return {value: tuple(calls) for value, calls in found.items()}

    @cached_property
    def _ancestors(self) -> Mapping[Call, frozenset[Call]]:
        found: dict[Call, frozenset[Call]] = {}
        for call in self.calls:
            parents = [v.call for v in call.inputs if v.call is not None]
            found[call] = frozenset(parents).union(*(found[p] for p in parents))
        return found

    def closure(self, calls: Iterable[Call]) -> frozenset[Call]:
        """These calls and all whose results they need."""
        own = frozenset(calls)
        return own.union(*(self._ancestors[c] for c in own))

    def last(self, calls: Iterable[Call]) -> list[Call]:
        """Those of `calls` whose results no other of them needs, in order."""
        own = set(calls)
        needed = frozenset[Call]().union(*(self._ancestors[c] for c in own))
        return [c for c in self.calls if c in own - needed]

    def sources(self, call: Call) -> frozenset[Value]:
        """The model's inputs that a call's result depends on."""
        calls = self.closure([call])
        return frozenset(v for c in calls for v in c.inputs if v.call is None)

    def named(self, name: str) -> tuple[Call, ...]:
        """The calls of a layer, or those that a nested model ends with.

        A layer of a nested model is `outer/inner`, or `inner` where that is unique. Raises
        `InputError` for a name that is unknown or not unique.
        """
        found = [c for c in self.calls if c.name == name]
        if not found and name in self.nested:
            found = [v.call for v in self.nested[name] if v.call is not None]
        if not found:
            found = [c for c in self.calls if c.name.rpartition("/")[2] == name]
            if len({c.name for c in found}) > 1:
                names = ", ".join(sorted({c.name for c in found}))
                raise InputError(
                    f"model {self.name!r} has several layers {name!r}: say which of {names}"
                )
        if not found:
            raise InputError(f"model {self.name!r} has no layer {name!r}{_hint(name, self.calls)}")
        return tuple(found)

    def run(self, inputs: Mapping[Value, Any]) -> dict[Value, Any]:
        """Every tensor of the graph at inference, by the model's own layers."""
        values = dict(inputs)
        for call in self.calls:
            # A mask that the model itself does not hand on must not come along from the eager run.
            options = {"training": False} if _takes_training(call.operation) else {}
            try:
                results = keras.tree.flatten(call.run(values, **options))
            except Exception as error:
                raise InputError(
                    f"{_where(call)} fails at inference: {words_of(error)}; "
                    "take out of the model what can only be trained"
                ) from error
            values.update(zip(call.outputs, results, strict=True))
        return values


def read_graph(model: Any) -> Graph:
    """The graph of a functional or Sequential model.

    Nested functional models are opened up; other nested models stay as one call each. Raises
    `InputError`, with the name of the layer, for a model that cannot be cut whatever the place.
    """
    given, model = model, functional_of(model)
    if model is None:
        if isinstance(given, keras.Sequential):
            raise InputError(
                f"model {given.name!r} does not know its input's shape yet, so it has no layers to "
                "cut; begin it with keras.Input(shape), or call it once"
            )
        raise InputError(
            "expected a functional or built Sequential Keras model: only there can the layers "
            "between two places be seen; rebuild it with keras.Model(inputs, outputs)"
        )
    inputs = tuple(_input(model, x) for x in model.inputs)
    opened = _Opened()
    tensors = {id(x): value for x, value in zip(model.inputs, inputs, strict=True)}
    outputs = tuple(opened.walk(model, tensors, "", {}))
    needed = _needed(outputs)
    graph = Graph(
        given.name,
        inputs,
        tuple(c for c in opened.calls if c in needed),
        outputs,
        _output_names(model),
        {k: v for k, v in opened.nested.items() if all(x.call in needed for x in v)},
    )
    _check_graph(graph)
    return graph


def _output_names(model: Any) -> tuple[str, ...]:
    """By what each output is known: its key in a mapping, else the layer that gives it."""
    struct = getattr(model, "_outputs_struct", None)
    if isinstance(struct, Mapping) and len(struct) == len(model.outputs):
        places = {id(x): key for key, x in struct.items()}
        return tuple(str(places[id(x)]) for x in model.outputs)
    names = [x._keras_history.operation.name for x in model.outputs]
    return tuple(name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names))


def _needed(outputs: Iterable[Value]) -> set[Call]:
    """All calls that some tensors depend on."""
    needed: set[Call] = set()
    wanted = [output.call for output in outputs]
    while wanted:
        call = wanted.pop()
        if call is not None and call not in needed:
            needed.add(call)
            wanted += [v.call for v in call.inputs]
    return needed


def _check_graph(graph: Graph) -> None:
    if not graph.calls:
        raise InputError(f"model {graph.name!r} computes nothing: its output is its input")
    for value in graph.inputs:
        if value not in graph.consumers:
            raise InputError(
                f"model {graph.name!r} does not use its input {value.name!r}; remove it"
            )
    for call in graph.calls:
        _check(call)


def copy_of(call: Call, name: str) -> Any:
    """A new operation like a call's, called `name`; a layer's weights are yet to be set.

    Made as when a saved model is loaded, so that what could not be loaded is refused here.
    """
    where = _where(call)
    try:
        config = keras.saving.serialize_keras_object(call.operation)
        config["config"]["name"] = name
        return keras.saving.deserialize_keras_object(config)
    except (ValueError, TypeError, NotImplementedError, KeyError, AttributeError) as error:
        raise InputError(
            f"{where} cannot be saved and loaded again: {words_of(error)}; register a custom layer "
            "with @keras.saving.register_keras_serializable() and give it get_config, and write a "
            "Lambda as such a layer"
        ) from error


def words_of(error: Exception, most: int = 300) -> str:
    """What an error of Keras says, on one line and without its colors; `most` characters of it."""
    return " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())[:most]


class _Opened:
    """Collects the calls of a model and of the models nested in it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.nested: dict[str, tuple[Value, ...]] = {}

    def walk(
        self, model: Any, values: dict[int, Value], path: str, context: Mapping[str, Any]
    ) -> list[Value]:
        """Go through one model whose inputs stand for `values`; returns what its outputs are.

        `context`: such as `training=False`, with which the model itself was called.
        """
        for node in calls_of(model):
            operation = node.operation
            args, kwargs = node.arguments.fill_in(values)
            kwargs = {k: v for k, v in kwargs.items() if v is not None}
            kwargs |= {
                k: v for k, v in context.items() if k == "training" and _takes_training(operation)
            }
            name = path + operation.name
            results = self._inner(operation, args, kwargs, name)
            if results is None:
                call = Call(name, operation, tuple(args), dict(kwargs))
                call.outputs = tuple(_value(name, x, call) for x in node.outputs)
                self.calls.append(call)
                results = list(call.outputs)
            values.update(zip(map(id, node.outputs), results, strict=True))
        return [values[id(x)] for x in model.outputs]

    def _inner(self, operation: Any, args: Any, kwargs: Any, name: str) -> list[Value] | None:
        inner = functional_of(operation)
        given = keras.tree.flatten(args[0]) if len(args) == 1 else []
        if inner is None or set(kwargs) - {"training"} or len(given) != len(inner.inputs):
            return None
        if isinstance(args[0], Mapping) and not isinstance(inner._inputs_struct, Mapping):
            if set(args[0]) != {x.name for x in inner.inputs}:
                return None
            given = [args[0][x.name] for x in inner.inputs]
        values = {id(x): value for x, value in zip(inner.inputs, given, strict=True)}
        if any(values[id(x)].shape != tuple(x.shape[1:]) for x in inner.inputs):
            return None  # the inner shapes are those of another call
        results = self.walk(inner, values, f"{name}/", kwargs)
        self.nested[name] = tuple(results)
        return results


def functional_of(model: Any) -> Any:
    """The functional model that a layer is, or that a Sequential one holds; else None."""
    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    plain = isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth")
    if not plain:
        return None
    # A subclass with a `call` of its own does more than its graph says.
    own = next(c for c in type(model).__mro__ if "call" in vars(c))
    return model if own.__module__.startswith("keras.") else None


def _input(model: Any, tensor: Any) -> Value:
    # An unnamed input is `input_layer` to its layer, and `keras_tensor` to itself.
    value = _value(tensor._keras_history.operation.name, tensor, None)
    where = f"input {value.name!r} of model {model.name!r}"
    if any(d is None for d in value.shape):
        raise InputError(
            f"{where} has the dynamic shape {tuple(tensor.shape)}; machines agree on "
            "sizes beforehand: build the model with keras.Input((96, 96, 3)), say, or give "
            f"--shape {value.name}=SIZES on the command line"
        )
    if tensor.shape[0] is not None:
        raise InputError(
            f"{where} has a fixed batch of {tensor.shape[0]}; build the model with "
            "keras.Input(shape), which leaves the batch open"
        )
    if value.dtype not in ("float32", "uint8", "int32", "int64"):
        raise InputError(
            f"{where} is {value.dtype}; expected float32, uint8 or int32, as sensors give"
        )
    return value


def _where(call: Call) -> str:
    return f"layer {call.name!r} ({type(call.operation).__name__})"


def _check(call: Call) -> None:
    where = _where(call)
    # Layers that vary pictures have it as their default, which a model's own call overrides.
    by_default = inspect.signature(call.operation.call).parameters.get("training")
    if call.kwargs.get("training") is True and not (by_default and by_default.default is True):
        raise InputError(
            f"{where} is called with training=True, so it acts at inference as in training and no "
            "two answers agree; call it without"
        )
    if getattr(call.operation, "stateful", False):
        raise InputError(
            f"{where} is stateful: it remembers the last batch, and a frame that was lost would "
            "change all later ones; make it with stateful=False"
        )


def _value(name: str, tensor: Any, call: Call | None) -> Value:
    return Value(
        name,
        tuple(tensor.shape[1:]),
        keras.backend.standardize_dtype(tensor.dtype),
        call,
        getattr(tensor, "_keras_mask", None) is not None,
    )


def _takes_training(operation: Any) -> bool:
    return bool(getattr(operation, "_call_has_training_arg", False))


def _size(shape: Iterable[int | None]) -> int:
    return int(np.prod([d or 1 for d in shape], dtype=np.int64))


def _itemsize(dtype: str) -> int:
    return {"bool": 1, "string": 1, "bfloat16": 2}.get(dtype) or np.dtype(dtype).itemsize


def _hint(name: str, calls: Iterable[Call]) -> str:
    import difflib

    close: Callable[..., list[str]] = difflib.get_close_matches
    found = close(name, sorted({c.name for c in calls}), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(found)}?" if found else ""
