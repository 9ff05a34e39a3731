"""A CSV file with a line of column names; errors name the file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class CsvTable:
    """Its columns' names, its cells, and the line in the file of each row."""

    source: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    @classmethod
    def read(cls, source: Path) -> CsvTable:
        """Read a file: UTF-8, columns between commas, semicolons or tabs; empty lines count not.

        Raises:
            InputError: The file cannot be read, has no line beside the names, a column without a
                name of its own, or a line with more or fewer columns.
        """
        text = read_text(source)
        head = text.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=head.count)
        reader = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
        rows, lines = [], []
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    rows.append([cell.strip() for cell in row])
                    lines.append(reader.line_num)
        except csv.Error as error:
            raise InputError(
                f"{source}, line {reader.line_num}: {error}. Write it again"
            ) from error
        if len(rows) < 2:
            raise InputError(f"{source}: expected a line of column names, and a line a sample")
        names, lines = rows.pop(0), lines[1:]
        for name in names:
            if not name or names.count(name) > 1:
                raise InputError(
                    f"{source}: expected every column to have a name of its own; came {name!r}"
                    f"{' more than once' if name else ''}. Write a first line of names"
                )
        for row, line in zip(rows, lines, strict=True):
            if len(row) != len(names):
                raise InputError(
                    f"{source}, line {line}: expected {len(names)} columns, as in the first line; "
                    f"came {len(row)}"
                )
        return cls(source, names, rows, lines)

    def column(self, name: str) -> list[str]:
        """The cells of a column; none may be empty."""
        if name not in self.names:
            raise InputError(
                f"{self.source} has no column {name!r}: it has {', '.join(self.names)}"
            )
        index = self.names.index(name)
        cells = [row[index] for row in self.rows]
        if "" in cells:
            line = self.lines[cells.index("")]
            raise InputError(
                f"{self.source}, line {line}: column {name!r} is empty. Fill it, or leave the "
                "line out"
            )
        return cells

    def matching(self, patterns: Sequence[str], taken: set[str]) -> list[str]:
        """The columns that these patterns name, in the order of the patterns and of the file."""
        found: list[str] = []
        for pattern in patterns:
            names = [x for x in self.names if x == pattern] or [
                x for x in self.names if fnmatchcase(x, pattern) and x not in taken
            ]
            if not names:
                self.column(pattern)
            found += [x for x in names if x not in found]
        return found

    def numbers(self, names: Sequence[str], dtype: Any = np.float32) -> NDArray[Any]:
        """Columns of numbers, `(samples, columns)`."""
        columns = [self.column(name) for name in names]
        try:
            return np.array(columns, dtype=np.float64).T.astype(dtype)
        except ValueError:
            name, line, cell = next(self._no_numbers(names, columns))
        raise InputError(
            f"{self.source}, line {line}: column {name!r} holds {cell!r}, which is no number"
        )

    def _no_numbers(
        self, names: Sequence[str], columns: Sequence[list[str]]
    ) -> Iterator[tuple[str, int, str]]:
        for name, column in zip(names, columns, strict=True):
            for line, cell in zip(self.lines, column, strict=True):
                try:
                    float(cell)
                except ValueError:
                    yield name, line, cell


def read_text(path: Path) -> str:
    """The text in a file of UTF-8, without a byte order mark; `InputError` for anything else."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text of UTF-8: {error}. Save it as UTF-8") from error
