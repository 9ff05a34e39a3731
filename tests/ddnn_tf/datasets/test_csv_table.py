"""Tables: what is read, and what is named where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddnn_tf.datasets.csv_table import CsvTable
from edge_runtime.errors import InputError


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_by_name_and_pattern(tmp_path: Path, delimiter: str) -> None:
    lines = ["a_x, a_y,b,kind", "1,2.5,-3e2,one", "", '4,5,6,"two"']
    text = "\r\n".join(lines).replace(",", delimiter)
    (tmp_path / "t.csv").write_text("\ufeff" + text, encoding="utf-8")
    table = CsvTable.read(tmp_path / "t.csv")
    assert table.names == ["a_x", "a_y", "b", "kind"]
    assert table.column("kind") == ["one", "two"]
    assert table.matching(["b", "a_*"], set()) == ["b", "a_x", "a_y"]
    assert table.matching(["*"], {"kind", "b"}) == ["a_x", "a_y"]
    assert table.numbers(["b", "a_y"]).tolist() == [[-300.0, 2.5], [6.0, 5.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "expected a line of column names, and a line a sample"),
        ("a,a\n1,2\n", "every column to have a name of its own; came 'a' more than once"),
        ("a,\n1,2\n", "every column to have a name of its own; came ''"),
        ("a,b\n1,2\n\n1\n", "line 4: expected 2 columns, as in the first line; came 1"),
        ('a,b\n1,"2\n', "line 2: unexpected end of data"),
        ("a,b\n1,2\n1,x\n", "line 3: column 'b' holds 'x', which is no number"),
        ("a,b\n1,2\n1,\n", "line 3: column 'b' is empty"),
        ("a,c\n1,2\n", "has no column 'b': it has a, c"),
    ],
)
def test_a_table_that_is_damaged(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=rf"t\.csv.*{message}") as error:
        CsvTable.read(tmp_path / "t.csv").numbers(["a", "b"])
    assert "\n" not in str(error.value)


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,b\n1,2".encode("utf-16"))
    with pytest.raises(InputError, match=r"t\.csv is no text of UTF-8"):
        CsvTable.read(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"cannot read .*none\.csv: No such file"):
        CsvTable.read(tmp_path / "none.csv")
