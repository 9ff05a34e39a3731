"""LiteRT: the only file that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .gather import TensorSpec
from .quiet import quiet

__all__ = ["LiteRTSection"]

Array = NDArray[Any]


class LiteRTSection:
    """One section as a LiteRT artifact.

    `inputs`: shape and dtype of each input by name. One thread: with sections this small, more of
    them cost more than they bring.

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
            with quiet():
                self._interpreter = Interpreter(model_content=model, num_threads=1)
                self._interpreter.allocate_tensors()
            signatures = self._interpreter.get_signature_list()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{where}: not a LiteRT model: {error}; export it again") from error
        if len(signatures) != 1:
            raise InputError(
                f"{where}: expected one signature, got {', '.join(signatures) or 'none'}; "
                "export it again"
            )
        # Input order is scrambled by the converter: only the signature's names are to be trusted.
        self._runner = self._interpreter.get_signature_runner(next(iter(signatures)))
        self.inputs = {
            name: TensorSpec(
                tuple(int(d) for d in detail["shape_signature"][1:]), np.dtype(detail["dtype"]).name
            )
            for name, detail in self._runner.get_input_details().items()
        }
        names = self._runner.get_output_details()
        self._outputs = [f"output_{k}" for k in range(len(names))]
        if set(names) != set(self._outputs):
            raise InputError(
                f"{where}: expected outputs {', '.join(self._outputs)}, got {', '.join(names)}; "
                "export it again"
            )

    def __call__(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """Evaluate on all inputs, each with the batch first; outputs in the section's order."""
        results = self._runner(**inputs)
        return tuple(results[name] for name in self._outputs)
