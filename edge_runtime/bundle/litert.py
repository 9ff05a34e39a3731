"""LiteRT: the only file that imports it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array, TensorSpec
from ..errors import InputError
from ..process.stderr import suppress_native_stderr
from .compute import Compute

#: The signatures of a node with an exit: what it sends; that, and last what its exit answers.
MESSAGE, EXIT = "serving_default", "exit"


class LiteRTSection:
    """One section as a LiteRT artifact.

    `inputs`: shape and dtype of each input by name. `has_exit`: whether its node has an exit.
    `computed_by`: what computes it and why, for people.

    Give it bytes whose hash has been checked: a damaged model can crash the process.

    Raises `InputError` for what is no artifact, and for a delegate that cannot be had.
    """

    def __init__(
        self, model: bytes, *, where: str | Path = "model", compute: Compute = Compute()
    ) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError as error:
            raise InputError(
                'running an artifact needs LiteRT: pip install "ddnn-tf[edge]"'
            ) from error
        delegates = _delegates(compute)
        self._where = where
        try:
            with suppress_native_stderr():
                self._interpreter = Interpreter(
                    model_content=model,
                    num_threads=compute.threads,
                    experimental_delegates=delegates or None,
                )
                taken = _taken(self._interpreter)
                self._interpreter.allocate_tensors()
            signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError) as error:
            if delegates:
                reason = _line(error) or "it may want tensors of one size, and these take any batch"
                raise InputError(
                    f"--delegate {compute.delegate} refuses {where}: {reason}. {_WITHOUT}"
                ) from error
            raise InputError(f"{where}: not a LiteRT model: {error}; export it again") from error
        self.computed_by = _computed_by(compute, taken, _taken(self._interpreter) > taken)
        self.has_exit = set(signatures) == {MESSAGE, EXIT}
        if len(signatures) != 1 and not self.has_exit:
            raise InputError(
                f"{where}: expected one signature, or {MESSAGE} and {EXIT}, got "
                f"{', '.join(signatures) or 'none'}; export it again"
            )
        # Input order is scrambled by the converter: only the signature's names are to be trusted.
        name = MESSAGE if self.has_exit else next(iter(signatures))
        self._runner = self._interpreter.get_signature_runner(name)
        self._exit = self._interpreter.get_signature_runner(EXIT) if self.has_exit else None
        self.inputs = {
            name: TensorSpec(
                tuple(int(d) for d in detail["shape_signature"][1:]), np.dtype(detail["dtype"]).name
            )
            for name, detail in self._runner.get_input_details().items()
        }
        names = list(self._runner.get_output_details())
        more = list(self._exit.get_output_details()) if self._exit else []
        _check_outputs(names, len(names), where)
        _check_outputs(more, len(names) + 1 if self.has_exit else 0, where)

    def __call__(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """Evaluate on all inputs, each with the batch first; outputs in the section's order.

        Of a node with an exit: what it sends.
        """
        return self._run(self._runner, inputs)

    def with_exit(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """As when called, and last what the node's exit answers, if it has one."""
        return self._run(self._exit or self._runner, inputs)

    def _run(self, runner: Any, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        try:
            results = runner(**inputs)
        except RuntimeError as error:
            beyond = "gather index out of bound" in str(error)
            hint = "; an id lies outside the table that it looks into" if beyond else ""
            raise InputError(
                f"{self._where}: LiteRT cannot compute it on these inputs ({error}){hint}"
            ) from error
        return tuple(results[f"output_{k}"] for k in range(len(results)))


#: What there is where an accelerator cannot be had.
_WITHOUT = "Leave --delegate out, and XNNPACK, which is built in, computes"


def _delegates(compute: Compute) -> list[Any]:
    """The delegate that is asked for, loaded; none where it is built in."""
    if compute.library is None:
        return []
    from ai_edge_litert.interpreter import load_delegate

    asked = f"--delegate {compute.delegate}"
    try:
        # First without LiteRT, whose own loader leaves half an object that complains at its end.
        library = ctypes.CDLL(compute.library)
        missing = not hasattr(library, "tflite_plugin_create_delegate")
        if missing or not hasattr(library, "tflite_plugin_destroy_delegate"):
            raise InputError(f"{asked}: {compute.library} makes no LiteRT delegate. {_WITHOUT}")
        with suppress_native_stderr():
            return [load_delegate(compute.library)]
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{asked}: cannot be loaded: {_line(error)}. {_WITHOUT}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _taken(interpreter: Any) -> int:
    """How many parts of the model delegates have taken so far."""
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())


def _computed_by(compute: Compute, taken: int, built_in: bool) -> str:
    """What computes a section and why, for people.

    `taken`: parts that the delegate asked for has taken; `built_in`: whether XNNPACK took any.
    """
    threads = "1 thread" if compute.threads == 1 else f"{compute.threads} threads"
    rest = "XNNPACK" if built_in else "LiteRT's plain kernels"
    if compute.library is None:
        why = "built in; no other is asked for" if built_in else "XNNPACK takes none of it"
        return f"{rest} on {threads} ({why})"
    asked = f"as --delegate asks, from {compute.library}"
    if not taken:
        return f"{rest} on {threads}: {compute.delegate} takes no part of this section ({asked})"
    return f"{compute.delegate} ({asked}); what it leaves, {rest} on {threads}"


def _check_outputs(names: list[str], count: int, where: str | Path) -> None:
    expected = [f"output_{k}" for k in range(count)]
    if set(names) != set(expected):
        raise InputError(
            f"{where}: expected outputs {', '.join(expected)}, got {', '.join(names)}; "
            "export it again"
        )
