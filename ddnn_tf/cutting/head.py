"""What a model's outputs mean, and what is put over them so that they are answers.

Known, not guessed: from the layers at the end of the model, from what it gives for some inputs,
from the loss it was compiled with, and from what the caller says. Where these leave it open, the
model is refused with the option that says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.task import Classification, MultiLabel, Regression, Several, Single, Task

from .graph import Graph, Value

Tensor = Any  # a Keras tensor, which has no public type

#: What the numbers of an output are: probabilities, what becomes these by softmax or sigmoid, or
#: values to be taken as they are.
Numbers = Literal["probabilities", "logits", "values"]
NUMBERS: tuple[Numbers, ...] = get_args(Numbers)
#: Tasks that can be said by name.
Kind = Literal["classification", "multi-label", "regression"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: Sums of probabilities that are as good as 1, and how far outside 0 to 1 rounding may lead.
ROUNDING = 1e-4

#: Layers and operations that leave it as it is whether numbers are probabilities.
PASSING = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Average",
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "Cast",
        "Concatenate",
        "Dropout",
        "ExpandDims",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "Identity",
        "MaxPooling1D",
        "MaxPooling2D",
        "Maximum",
        "Mean",
        "Minimum",
        "Permute",
        "Reshape",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "Squeeze",
        "Transpose",
    }
)
SIGMOIDS = frozenset({"sigmoid", "hard_sigmoid", "sparse_sigmoid"})
#: What may give probabilities of classes. Of other activations, numbers that sum up to 1, or lie
#: within 0 and 1, on a few inputs do so by chance, or because they are saturated or constant.
SOFTMAXES = frozenset({"softmax", "sparsemax"})
UNSEEN = frozenset({"input", "unknown"})

#: The activations of Keras, by name in small letters without underscores, as its layers and
#: operations have them.
ACTIVATIONS = {name.replace("_", ""): name for name in vars(keras.activations)}

#: What a loss of Keras is of, by its name in small letters without underscores.
LOSSES: Mapping[str, Kind] = {
    **dict.fromkeys(
        (
            "categoricalcrossentropy",
            "categoricalfocalcrossentropy",
            "kldivergence",
            "kld",
            "kullbackleiblerdivergence",
            "sparsecategoricalcrossentropy",
        ),
        "classification",
    ),
    **dict.fromkeys(("bce", "binarycrossentropy", "binaryfocalcrossentropy"), "multi-label"),
    **dict.fromkeys(
        (
            "huber",
            "huberloss",
            "logcosh",
            "mae",
            "mape",
            "meanabsoluteerror",
            "meanabsolutepercentageerror",
            "meansquarederror",
            "meansquaredlogarithmicerror",
            "mse",
            "msle",
            "poisson",
        ),
        "regression",
    ),
}


@dataclass(frozen=True)
class Loss:
    """What a model was trained by: what that is of, and whether it takes logits."""

    name: str
    kind: Kind
    from_logits: bool


@dataclass(frozen=True)
class Head:
    """What one output means, and what is put over it.

    `output`: the model's tensor, (batch, numbers). `added`: `softmax`, `sigmoid`, and `other class`
    where a single number becomes the probabilities of two classes; nothing where it stays as it is.
    `because`: how that is known.
    """

    name: str
    output: Value
    task: Single
    added: tuple[Literal["softmax", "sigmoid", "other class"], ...]
    because: str

    def over(self, numbers: Tensor, prefix: str) -> Tensor:
        """The answer, float32 (batch, width), by layers whose names begin with `prefix`."""
        if "softmax" in self.added:
            return layers.Softmax(dtype="float32", name=f"{prefix}probabilities")(numbers)
        if "sigmoid" in self.added:
            sigmoid = layers.Activation("sigmoid", dtype="float32", name=f"{prefix}sigmoid")
            numbers = sigmoid(numbers)
        if "other class" in self.added:
            other = layers.Rescaling(-1.0, offset=1.0, name=f"{prefix}other_class")(numbers)
            return layers.Concatenate(name=f"{prefix}probabilities")([other, numbers])
        return numbers

    def expected(self, numbers: Array) -> NDArray[np.float64]:
        """What the answer is for numbers that the model gives, by arithmetic of its own."""
        x = np.asarray(numbers, np.float64)
        if "softmax" in self.added:
            powers = np.exp(x - x.max(axis=-1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
        if "sigmoid" in self.added:
            x = np.exp(-np.logaddexp(0.0, -x))
        return np.concatenate([1.0 - x, x], axis=-1) if "other class" in self.added else x

    def __str__(self) -> str:
        names = self.task.names
        shown = ", ".join(names) if len(names) <= 6 else f"{names[0]}, {names[1]}, … {names[-1]}"
        which = f"output {self.name}: " if self.name else ""
        added = f"{' and '.join(self.added)} put over it" if self.added else "taken as it is"
        return f"{which}{self.task.kind} of {shown}; {added}: {self.because}"


@dataclass(frozen=True)
class Said:
    """What a caller says of an output: a task or its kind, its numbers, its names."""

    task: Single | Kind | None = None
    numbers: Numbers | None = None
    names: tuple[str, ...] | None = None

    @property
    def kind(self) -> str | None:
        """The task's, if one was said."""
        if self.task is None or isinstance(self.task, str):
            return self.task
        return self.task.kind


def heads_of(
    graph: Graph,
    given: Mapping[Value, Array],
    *,
    loss: Any = None,
    task: Task | Kind | Mapping[str, Single | Kind] | None = None,
    numbers: Numbers | Mapping[str, Numbers] | None = None,
    names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
) -> tuple[Head, ...]:
    """What each output of a model means.

    Args:
        graph: of the model.
        given: what the model gives for some inputs, by output.
        loss: what it was compiled with, as Keras keeps it or as a file writes it; None if unknown.
        task: what the outputs mean, where the caller says it; several by name.
        numbers: what the outputs' numbers are, likewise.
        names: of classes, labels or values, likewise.

    Raises:
        InputError: where an output fits no task, or several, with the option that says which.
    """
    several = len(graph.outputs) > 1
    outputs = graph.output_names if several else ("",)
    wanted = [
        Said(
            _of(task.outputs if isinstance(task, Several) else task, name, outputs, "task"),
            _of(numbers, name, outputs, "head"),
            _names(_of(names, name, outputs, "classes")),
        )
        for name in outputs
    ]
    return tuple(
        _head(name, value, np.asarray(given[value]), _loss(loss, i, name, several), said)
        for i, (name, value, said) in enumerate(zip(outputs, graph.outputs, wanted, strict=True))
    )


def task_of(heads: Sequence[Head]) -> Task:
    """The task of all outputs together."""
    if len(heads) == 1:
        return heads[0].task
    return Several({head.name: head.task for head in heads})


def _of(said: Any, name: str, outputs: Sequence[str], option: str) -> Any:
    """What was said of one output: of several by name, of a single one without."""
    if isinstance(said, Mapping):
        unknown = [x for x in said if x not in outputs]
        if unknown or (len(outputs) == 1 and said):
            known = ", ".join(outputs) if len(outputs) > 1 else "one alone, without a name"
            raise InputError(
                f"{option} names the output {(unknown or list(said))[0]!r}; the model has {known}"
            )
        return said.get(name)
    if said is not None and len(outputs) > 1:
        raise InputError(
            f"the model has the outputs {', '.join(outputs)}; say of which: {option} as "
            f"{outputs[0]}=…"
        )
    return said


def _names(names: Any) -> tuple[str, ...] | None:
    if isinstance(names, str):
        raise InputError(f"expected a list of names, got {names!r}; give [{names!r}, …]")
    return None if names is None else tuple(map(str, names))


# -- what is known of an output --------------------------------------------------------------------


def _loss(loss: Any, place: int, name: str, several: bool) -> Loss | None:
    """The loss of one output; None for one of the user's own, of which nothing is known."""
    loss = _loss_of(loss, place, name, several)
    if isinstance(loss, Mapping):
        config = loss.get("config")
        logits = isinstance(config, Mapping) and bool(config.get("from_logits"))
        # Of a function, its name stands in place of a configuration.
        given = config if isinstance(config, str) else loss.get("class_name", "")
    elif isinstance(loss, keras.losses.Loss):
        given = type(loss).__name__
        logits = bool(loss.get_config().get("from_logits")) if _is_kerass(loss) else False
    else:
        given, logits = getattr(loss, "__name__", loss or ""), False
    found = LOSSES.get(str(given).lower().replace("_", ""))
    return None if found is None else Loss(str(given), found, logits)


def _loss_of(loss: Any, place: int, name: str, several: bool) -> Any:
    """One output's, of the losses that Keras keeps by name or in order."""
    if several and isinstance(loss, Mapping) and "class_name" not in loss:
        return loss.get(name)
    if several and isinstance(loss, (list, tuple)):
        return loss[place] if place < len(loss) else None
    if isinstance(loss, Mapping) and len(loss) == 1:  # by the name of the only output
        return next(iter(loss.values()))
    return loss[0] if isinstance(loss, (list, tuple)) and len(loss) == 1 else loss


def _is_kerass(loss: Any) -> bool:
    return type(loss).__module__.startswith("keras.")


def _activations(output: Value) -> frozenset[str]:
    """The activations that a model ends with, in small letters; `linear` where there is none.

    Behind layers that leave it as it is whether numbers are probabilities.
    """
    found: set[str] = set()
    wanted, seen = [output], set[int]()
    while wanted:
        call = wanted.pop().call
        if call is None or id(call) in seen:
            found |= set() if call is not None else {"input"}
            continue
        seen.add(id(call))
        operation = call.operation
        inner = getattr(operation, "layer", None)  # of `TimeDistributed`
        operation = operation if inner is None else inner
        own = getattr(operation, "activation", None)
        name = getattr(own, "__name__", "") if own else type(operation).__name__
        if name in PASSING or (name == "linear" and isinstance(operation, layers.Activation)):
            wanted += call.inputs
        else:
            found.add(ACTIVATIONS.get(name.lower().replace("_", ""), "unknown"))
    return frozenset(found)


@dataclass(frozen=True)
class _Seen:
    """What is known of an output beside what the caller says."""

    where: str
    count: int
    activations: frozenset[str]
    loss: Loss | None
    sums_to_1: bool
    within_0_1: bool

    @property
    def of_classes(self) -> bool:
        """Whether the numbers are probabilities of classes, of which one is right."""
        able = self.activations - SIGMOIDS
        return self.sums_to_1 and bool(able) and able <= SOFTMAXES | UNSEEN

    @property
    def of_labels(self) -> bool:
        """Whether the numbers may be probabilities of labels, each of which may be right."""
        return self.within_0_1 and self.activations <= SIGMOIDS | SOFTMAXES

    @property
    def sigmoids(self) -> bool:
        return bool(self.activations) and self.activations <= SIGMOIDS

    @property
    def is_linear(self) -> bool:
        return self.activations <= {"linear", "input"}


def _head(name: str, value: Value, given: Array, loss: Loss | None, said: Said) -> Head:
    seen = _seen(name, value, given, loss)
    _check_said(seen, said)
    kind, numbers, because = _decided(seen, said)
    added: tuple[Any, ...] = ()
    if kind == "classification" and seen.count == 1:
        added = ("sigmoid", "other class") if numbers == "logits" else ("other class",)
    elif numbers == "logits":
        added = ("softmax",) if kind == "classification" else ("sigmoid",)
    return Head(name, value, _task(seen, said, kind), added, because)


def _seen(name: str, value: Value, given: Array, loss: Loss | None) -> _Seen:
    shape = value.shape
    where = f"the model's output{f' {name!r}' if name else ''}, of layer {value.name!r}"
    if len(shape) != 1 or shape[0] is None or not keras.backend.is_float_dtype(value.dtype):
        raise InputError(
            f"{where}, is {value.dtype} {(None, *shape)}; expected floats (batch, numbers): class "
            "probabilities or scores, labels, or values; flatten or pool it first, as in "
            "keras.Model(model.inputs, keras.layers.Flatten()(model.outputs[0]))"
        )
    x = given.astype(np.float64)
    x = x[np.isfinite(x).all(axis=-1)]  # a logarithm of what is below zero tells nothing
    within = bool(len(x) and (x >= -ROUNDING).all() and (x <= 1 + ROUNDING).all())
    sums = within and bool((np.abs(x.sum(axis=-1) - 1) <= ROUNDING).all())
    if shape[0] == 1 and sums and _activations(value) == {"softmax"}:
        raise InputError(
            f"{where}, is a softmax of one number, which is 1 whatever comes; end the model with "
            "a sigmoid, or with one number for each class"
        )
    return _Seen(where, shape[0], _activations(value), loss, sums and shape[0] > 1, within)


def _check_said(seen: _Seen, said: Said) -> None:
    if said.kind is not None and said.kind not in (*KINDS, "custom"):
        raise InputError(f"unknown task {said.kind!r}; expected {', '.join(KINDS)}")
    if said.numbers is not None and said.numbers not in NUMBERS:
        raise InputError(f"unknown head {said.numbers!r}; expected {', '.join(NUMBERS)}")
    values = said.kind in ("regression", "custom")
    if said.numbers is not None and said.kind is not None and (said.numbers == "values") != values:
        raise InputError(
            f"a {said.kind} has {'values' if values else 'probabilities or logits'}, got the head "
            f"{said.numbers}; make --task and --head agree"
        )
    if said.numbers == "probabilities" and not seen.within_0_1:
        raise InputError(
            f"{seen.where}, is said to give probabilities, and gives numbers outside 0 to 1; say "
            "--head logits, or values"
        )
    classes = said.kind == "classification" and seen.count > 1
    if classes and said.numbers == "probabilities" and not seen.sums_to_1:
        raise InputError(
            f"{seen.where}, is said to give probabilities of classes, and gives {seen.count} "
            "numbers that do not sum up to 1; say --task multi-label, or --head logits"
        )


def _decided(seen: _Seen, said: Said) -> tuple[str, Numbers, str]:
    """The kind of task, what the numbers are, and how that is known."""
    kind = said.kind
    if kind is None and said.numbers == "values":
        kind = "regression"
    if kind in ("regression", "custom"):
        return str(kind), "values", "as was said"
    if kind is not None:
        return kind, *_said_kind(seen, said, kind)
    if said.numbers is not None:
        return _kind_of(seen, said.numbers), said.numbers, "as was said"
    return _known(seen, said)


def _kind_of(seen: _Seen, numbers: Numbers) -> Kind:
    """The kind of task, where it is said that the numbers are probabilities or logits."""
    if seen.count == 1:
        return "classification"
    if numbers == "probabilities" and seen.sums_to_1:
        return "classification"
    trained = None if seen.loss is None else seen.loss.kind
    if trained == "classification" or trained == "multi-label":
        return trained
    if seen.sigmoids:
        return "multi-label"
    raise _open(seen, f"{numbers} of classes, one of which is right, or of several labels")


def _said_kind(seen: _Seen, said: Said, kind: str) -> tuple[Numbers, str]:
    """What the numbers are, where the task is said."""
    if said.numbers is not None:
        return said.numbers, "as was said"
    if seen.of_classes:
        return "probabilities", "they sum up to 1"
    if seen.sigmoids:
        if kind == "classification" and seen.count > 1:
            raise InputError(
                f"{seen.where}, gives {seen.count} sigmoids, several of which may be right at "
                "once; say --task multi-label, or --head logits for a softmax over them"
            )
        return "probabilities", "it ends with a sigmoid"
    disagrees = seen.loss is not None and seen.loss.kind == "regression"
    if seen.is_linear and not disagrees:
        return "logits", "it ends without an activation"
    raise _open(seen, "probabilities or logits", option="--head")


def _known(seen: _Seen, said: Said) -> tuple[str, Numbers, str]:
    """What nobody needs to say."""
    loss = seen.loss
    if loss is not None and loss.kind == "regression" and not (seen.of_classes or seen.sigmoids):
        if said.names is not None and len(said.names) != seen.count:
            raise _open(seen, f"values, by the loss {loss.name}, or classes, by their names")
        return "regression", "values", f"it was trained by {loss.name}"
    if loss is not None and loss.kind == "regression" and said.names is None:
        raise _open(seen, f"probabilities, by what it gives, or values, by the loss {loss.name}")
    if seen.of_classes:
        return "classification", "probabilities", "they sum up to 1"
    if seen.sigmoids and (loss is None or loss.kind != "classification"):
        kind = "classification" if seen.count == 1 else "multi-label"
        return kind, "probabilities", "it ends with a sigmoid"
    one = seen.count == 1 and loss is not None and loss.kind == "classification"
    if loss is not None and loss.from_logits and not (seen.sigmoids or one):
        kind = "classification" if seen.count == 1 else loss.kind
        return kind, "logits", f"it was trained by {loss.name} from logits"
    if loss is not None and loss.kind == "multi-label" and seen.of_labels:
        kind = "classification" if seen.count == 1 else "multi-label"
        return kind, "probabilities", f"from 0 to 1, it was trained by {loss.name}"
    two = said.names is not None and len(said.names) == 2 and seen.count == 1
    if loss is None and two and seen.is_linear:
        return "classification", "logits", "two classes are named, and it has no activation"
    raise _open(seen, "logits of classes, probabilities, or values")


def _open(seen: _Seen, what: str, option: str = "--task") -> InputError:
    ends = ", ".join(sorted(seen.activations - {"unknown", "input"})) or "none that is known"
    trained = "no loss that is known" if seen.loss is None else f"the loss {seen.loss.name}"
    say = {
        "--task": "say which: --task classification, multi-label or regression (task=)",
        "--head": "say which: --head probabilities or logits (head=)",
    }[option]
    return InputError(
        f"{seen.where}, gives {seen.count} number{'s' if seen.count > 1 else ''} that may be "
        f"{what} (activation: {ends}; {trained}); {say}"
    )


def _task(seen: _Seen, said: Said, kind: str) -> Single:
    """The task itself, by the names that were said; else numbers."""
    count = max(2, seen.count) if kind == "classification" else seen.count
    if said.task is not None and not isinstance(said.task, str):
        if said.task.width != count:
            raise InputError(
                f"{seen.where}, gives {seen.count} numbers; got a {kind} of "
                f"{', '.join(said.task.names)}"
            )
        return said.task
    names = said.names if said.names is not None else tuple(str(i) for i in range(count))
    if len(names) != count:
        what = {"classification": "classes", "multi-label": "labels"}.get(kind, "values")
        raise InputError(
            f"{seen.where}, gives {seen.count} numbers, of {count} {what}; got {len(names)} names"
        )
    if kind == "classification":
        return Classification(names)
    return MultiLabel(names) if kind == "multi-label" else Regression(names)
