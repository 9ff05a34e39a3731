"""A model made again from the configurations of its layers, with copies of their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from edge_runtime.errors import InputError
from export.state import copy_state

from .graph import functional_of, words_of

#: Changes the configuration of a layer as Keras writes it, in place; what is nested in it is there.
Edit = Callable[[dict[str, Any]], None]


def remade(
    model: Any,
    shapes: Sequence[Any] | None = None,
    *,
    edit: Edit = lambda config: None,
    why: str = "",
) -> keras.Model:
    """A functional model made again; models nested in it, too, each for the sizes that it receives.

    Args:
        model: functional.
        shapes: of its inputs, without the batch axis; None for those that it has. Inputs of floats
            become float32.
        edit: changes what each layer is made of.
        why: what an error begins with.

    Raises:
        InputError: for a layer that cannot be made or called again; it names the layer.
    """
    given = [tuple(x.shape[1:]) for x in model.inputs] if shapes is None else list(shapes)
    return _Remaker(edit, why).model(model, given)


class _Remaker:
    def __init__(self, edit: Edit, why: str) -> None:
        self._edit, self._why = edit, why
        self._copies: dict[int, tuple[list[Any], Any]] = {}

    def model(self, model: Any, shapes: Sequence[Any]) -> keras.Model:
        """The model for inputs of these shapes, without the batch axis."""
        inputs = [
            keras.Input(shape, dtype=_full(x.dtype), name=x._keras_history.operation.name)
            for shape, x in zip(shapes, model.inputs, strict=True)
        ]
        given = keras.tree.pack_sequence_as(model._inputs_struct, inputs)
        outputs = model._run_through_graph(given, operation_fn=self._again)
        return keras.Model(given, outputs, name=model.name)

    def _again(self, operation: Any) -> Any:
        """What stands for an operation: the same one, or for a layer a copy, once for all calls."""
        if not isinstance(operation, keras.Layer):
            return operation

        def call(*args: Any, **kwargs: Any) -> Any:
            inner = functional_of(operation)
            shapes = [tuple(x.shape[1:]) for x in keras.tree.flatten(args) if hasattr(x, "shape")]
            try:
                if id(operation) not in self._copies:
                    made = self._layer(operation) if inner is None else self.model(inner, shapes)
                    self._copies[id(operation)] = (shapes, made)
                known, copy = self._copies[id(operation)]
                if inner is not None and known != shapes:
                    raise InputError(
                        f"{self._why}the nested model {operation.name!r} is called on "
                        f"{_said(known)} and on {_said(shapes)}; expected one size: use two models"
                    )
                results = copy(*args, **kwargs)
                if inner is None:
                    copy_state(operation, copy)
            except InputError:
                raise
            except (ValueError, TypeError, NotImplementedError, KeyError) as error:
                raise InputError(
                    f"{self._why}layer {operation.name!r} ({type(operation).__name__}) cannot be "
                    f"made again for {_said(shapes)}: {words_of(error)}"
                ) from error
            return results

        return call

    def _layer(self, layer: Any) -> Any:
        config = keras.saving.serialize_keras_object(layer)
        self._edit(config)
        return keras.saving.deserialize_keras_object(config)


def _full(dtype: str) -> str:
    return "float32" if keras.backend.is_float_dtype(dtype) else dtype


def _said(shapes: Sequence[Any]) -> str:
    """Shapes as `--shape` takes them."""
    return " and ".join(
        ",".join("any" if d is None else str(d) for d in shape) or "one number" for shape in shapes
    )
