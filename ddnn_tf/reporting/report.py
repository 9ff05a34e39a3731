"""A reliability evaluation that shows itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.files import new_file

from .ranking import harshest, most_probable
from .text import head, tables
from .workstation import load_figures

FORMATS = ("jpg", "pdf", "png", "svg")


@dataclass(frozen=True, repr=False)
class Report:
    """A `Reliability` that can be shown: `print(report)`, `report.plot("report.png")`.

    Whatever the `reliability` tells can be asked of the report as well, such as
    `report.expected_score("high")`.
    """

    reliability: Reliability

    @classmethod
    def of(cls, reliability: Reliability | Report) -> Report:
        """These findings, able to show themselves."""
        return cls(reliability.reliability if isinstance(reliability, Report) else reliability)

    def __getattr__(self, name: str) -> Any:
        # Before it is made, as while it is copied or unpickled, a report has nothing to ask.
        if name.startswith("__") or "reliability" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.reliability, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.reliability)})

    def __repr__(self) -> str:
        found = self.reliability
        return f"<Report on {found.topology.name}: {len(found.configurations):,} configurations>"

    def __str__(self) -> str:
        return "\n".join([*head(self.reliability), *tables(self.reliability)])

    @property
    def harshest(self) -> str:
        """The survivability under which the worst is expected."""
        return harshest(self.reliability)

    def most_probable(self, count: int) -> NDArray[np.intp]:
        """Rows of the `count` most probable configurations when it is harshest, in their order."""
        return most_probable(self.reliability, count)

    def plot(self, path: str | Path) -> None:
        """Write one figure: expected score, score by number of failures, importance.

        Of several outputs, of the first.

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
            temporary.write_bytes(figures.render(figures.overview(self.reliability), kind))
