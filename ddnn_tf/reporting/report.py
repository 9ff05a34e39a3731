"""A reliability evaluation that shows itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.files import new_file

from .ranking import harshest, most_probable
from .text import head, table
from .workstation import load_figures

FORMATS = ("jpg", "pdf", "png", "svg")


@dataclass(frozen=True, repr=False)
class Report(Reliability):
    """A `Reliability` that can be shown: `print(report)`, `report.plot("report.png")`."""

    @classmethod
    def of(cls, reliability: Reliability) -> Report:
        """The same findings, able to show themselves."""
        return cls(**{f.name: getattr(reliability, f.name) for f in fields(Reliability)})

    def __repr__(self) -> str:
        return f"<Report on {self.topology.name}: {len(self.configurations):,} configurations>"

    def __str__(self) -> str:
        return "\n".join([*head(self), "", *table(self)])

    @property
    def harshest(self) -> str:
        """The survivability under which least is expected."""
        return harshest(self)

    def most_probable(self, count: int) -> NDArray[np.intp]:
        """Rows of the `count` most probable configurations when it is harshest, in their order."""
        return most_probable(self, count)

    def plot(self, path: str | Path) -> None:
        """Write one figure: expected accuracy, accuracy by number of failures, importance.

        The suffix of `path` decides the format: .png, .svg, .pdf or .jpg. Raises `InputError` for
        any other, and where nothing can be written.
        """
        figures, path = load_figures(), Path(path)
        kind = path.suffix[1:].lower()
        if kind not in FORMATS:
            raise InputError(
                f"expected a picture's name, which ends in one of .{', .'.join(FORMATS)}, "
                f"got {str(path)!r}"
            )
        with new_file(path) as temporary:
            temporary.write_bytes(figures.render(figures.overview(self), kind))
