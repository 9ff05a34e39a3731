"""LiteRT: the only file that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array, TensorSpec
from ..errors import InputError
from ..process.stderr import suppress_native_stderr

#: The signatures of a node with an exit: what it sends; that, and last what its exit answers.
MESSAGE, EXIT = "serving_default", "exit"


class LiteRTSection:
    """One section as a LiteRT artifact.

    `inputs`: shape and dtype of each input by name. `has_exit`: whether its node has an exit. One
    thread: with sections this small, more of them cost more than they
    bring.

    Give it bytes whose hash has been checked: a damaged model can crash the process.
    """

    def __init__(self, model: bytes, *, where: str | Path = "model") -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError as error:
            raise InputError(
                'running an artifact needs LiteRT: pip install "ddnn-tf[edge]"'
            ) from error
        try:
            with suppress_native_stderr():
                self._interpreter = Interpreter(model_content=model, num_threads=1)
                self._interpreter.allocate_tensors()
            signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{where}: not a LiteRT model: {error}; export it again") from error
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
        return _run(self._runner, inputs)

    def with_exit(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """As when called, and last what the node's exit answers, if it has one."""
        return _run(self._exit or self._runner, inputs)


def _check_outputs(names: list[str], count: int, where: str | Path) -> None:
    expected = [f"output_{k}" for k in range(count)]
    if set(names) != set(expected):
        raise InputError(
            f"{where}: expected outputs {', '.join(expected)}, got {', '.join(names)}; "
            "export it again"
        )


def _run(runner: Any, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    results = runner(**inputs)
    return tuple(results[f"output_{k}"] for k in range(len(results)))
