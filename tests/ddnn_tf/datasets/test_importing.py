"""A user's arrays, tables and pictures as samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ddnn_tf.datasets.importing import Wanted, import_arrays, import_pictures, import_table
from edge_runtime.errors import InputError
from edge_runtime.task import Classification, MultiLabel, Regression

X = np.linspace(-2, 2, 24).reshape(6, 4)
PICTURES = np.arange(6 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)


def arrays(folder: Path, target: Any, wanted: Wanted, x: Any = X) -> Any:
    np.save(folder / "x.npy", x, allow_pickle=True)
    np.save(folder / "y.npy", target, allow_pickle=True)
    return import_arrays({"x": folder / "x.npy"}, folder / "y.npy", wanted)


def onehot(numbers: list[int], count: int = 3) -> NDArray[np.float64]:
    return np.eye(count)[numbers]


@pytest.mark.parametrize(
    ("target", "wanted", "labels", "names"),
    [
        ([0, 2, 1, 0, 0, 2], Wanted(), [0, 2, 1, 0, 0, 2], ("0", "1", "2")),
        ([[0], [2], [1], [0], [0], [2]], Wanted(), [0, 2, 1, 0, 0, 2], ("0", "1", "2")),
        ([0.0, 1.0, 1.0, 0.0, 0.0, 1.0], Wanted(("n", "y")), [0, 1, 1, 0, 0, 1], ("n", "y")),
        (onehot([0, 2, 1, 0, 0, 2]), Wanted(("a", "b", "c")), [0, 2, 1, 0, 0, 2], ("a", "b", "c")),
        (["s10", "s2"] * 3, Wanted(), [1, 0] * 3, ("s2", "s10")),
        (["b", "a"] * 3, Wanted(("b", "a", "z")), [0, 1] * 3, ("b", "a", "z")),
    ],
)
def test_classes_however_they_are_kept(
    tmp_path: Path, target: Any, wanted: Wanted, labels: list[int], names: tuple[str, ...]
) -> None:
    samples = arrays(tmp_path, np.array(target), wanted)
    assert samples.task == Classification(names)
    assert samples.labels.tolist() == labels
    assert samples.inputs["x"].dtype == np.float32
    assert samples.inputs["x"] == pytest.approx(X)


def test_several_labels_and_values(tmp_path: Path) -> None:
    matrix = np.array([[0, 1], [1, 1], [0, 0]] * 2, np.float32)
    samples = arrays(tmp_path, matrix, Wanted(labels=("car", "bus")))
    assert samples.task == MultiLabel(("car", "bus"))
    assert samples.labels.tolist() == matrix.tolist()
    samples = arrays(tmp_path, X[:, :2], Wanted(values=("w", "h"), units=("m", "m")))
    assert samples.task == Regression(("w", "h"), ("m", "m"))
    assert samples.labels == pytest.approx(X[:, :2])
    samples = arrays(tmp_path, np.arange(6), Wanted(values=("count",)))
    assert samples.labels.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]


def test_several_sensors_and_groups(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PICTURES)
    np.save(tmp_path / "b.npy", X)
    np.save(tmp_path / "y.npy", [0, 1] * 3)
    (tmp_path / "who.txt").write_text("ann\nann\nbo\nbo\ncy\ncy\n")
    np.save(tmp_path / "who.npy", [1, 1, 2, 2, 3, 3])
    sensors = {"cam0": tmp_path / "a.npy", "lidar": tmp_path / "b.npy"}
    found = import_arrays(sensors, tmp_path / "y.npy", Wanted(), tmp_path / "who.txt")
    assert np.array_equal(found.inputs["cam0"], PICTURES)
    assert found.inputs["lidar"].dtype == np.float32
    assert found.groups is not None
    assert found.groups.tolist() == ["ann", "ann", "bo", "bo", "cy", "cy"]
    found = import_arrays(sensors, tmp_path / "y.npy", Wanted(), tmp_path / "who.npy")
    assert found.groups is not None
    assert found.groups.tolist() == [1, 1, 2, 2, 3, 3]
    (tmp_path / "who.txt").write_text("ann\n")
    with pytest.raises(InputError, match=r"one per sample \(6\); came <U3 of shape \(1,\)"):
        import_arrays(sensors, tmp_path / "y.npy", Wanted(), tmp_path / "who.txt")


Y = np.array([0, 1] * 3)


@pytest.mark.parametrize(
    ("x", "target", "wanted", "message"),
    [
        (X, np.array([0.5] * 6), Wanted(), r"y\.npy holds float64 of shape \(6,\), which is no cl"),
        (X, np.zeros((6, 2)), Wanted(), "say with --labels NAMES that several labels may hold"),
        (X, np.ones((6, 2), int), Wanted(("a", "b")), "not one class a sample is 1.*give --labels"),
        (X, np.array([0, 1, 2] * 2), Wanted(("a", "b")), "label 2 of sample 2 is out of range"),
        (X, np.array(["a", "x"] * 3), Wanted(("a", "b")), "the class 'x', which is none of --clas"),
        (X, np.full((6, 1), 2), Wanted(labels=("a",)), "label 'a' of sample 0 is 2: expected 0 or"),
        (X, np.full((6, 1), 0.5), Wanted(labels=("a",)), "expected 0 or 1"),
        (X, np.full(6, np.nan), Wanted(values=("a",)), "value 'a' of sample 0 is nan"),
        (X, np.full(6, -np.inf), Wanted(values=("a",)), "value 'a' of sample 0 is -inf"),
        (X, np.zeros(5), Wanted(values=("a",)), "'x' has the wrong number of samples: expected 5"),
        (np.where(X > 1, np.nan, X), Y, Wanted(), "sensor 'x' has NaN or infinite values in sampl"),
        (X * 1e39, Y, Wanted(), r"x\.npy holds numbers beyond those of float32"),
        (X[:, :0], Y, Wanted(), r"sensor 'x' holds nothing.*\(0,\)"),
        (X.astype(int), Y, Wanted(), r"x\.npy holds int64: expected uint8 \(pictures\) or float"),
        (PICTURES.transpose(0, 3, 1, 2), Y, Wanted(), r"before height and width \(3, 4, 5\)"),
        (PICTURES[..., 0], Y, Wanted(), r"pictures of the shape \(4, 5\).*Of gray pictures"),
        (PICTURES[..., :1], Y, Wanted(), r"pictures of the shape \(4, 5, 1\): expected"),
        (np.array([{}] * 6), Y, Wanted(), r"x\.npy holds Python objects, which are not read"),
        (np.array([X, 1], dtype=object), Y, Wanted(), r"x\.npy holds Python objects"),
        (X, np.array([{}] * 6), Wanted(), r"y\.npy holds Python objects"),
    ],
)
def test_arrays_that_are_refused(
    tmp_path: Path, x: Any, target: Any, wanted: Wanted, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        arrays(tmp_path, target, wanted, x)
    assert "\n" not in str(error.value)


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", Y)
    for name, content, message in (
        ("x.npy", b"no array", r"x\.npy is damaged or no \.npy file: .*Save it again"),
        ("x.npy", (tmp_path / "y.npy").read_bytes()[:-9], r"x\.npy is damaged or no \.npy file"),
        ("x.pkl", b"\x80\x04", r"x\.pkl: expected a \.npy file, as np\.save writes it"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            import_arrays({"x": tmp_path / name}, tmp_path / "y.npy", Wanted())
    with pytest.raises(InputError, match=r"cannot read .*none\.npy: No such file"):
        import_arrays({"x": tmp_path / "none.npy"}, tmp_path / "y.npy", Wanted())


def test_one_kind_of_labels_is_wanted() -> None:
    with pytest.raises(InputError, match=r"one of --classes, --labels and --values.*--labels and"):
        Wanted(labels=("a",), values=("b",))
    with pytest.raises(InputError, match="--units are those of --values"):
        Wanted(classes=("a",), units=("m",))


# -- tables ----------------------------------------------------------------------------------------

TABLE = """who,t1,t2,arm_x,arm_y,kind,fast,high
ann,1,2,0.5,-1,walk,0,1.5
ann,3,4,0.25,-2,run,1,2.5
bo,5,6,0.125,-3,walk,0,3.5
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def test_a_class_a_line(table: Path) -> None:
    found = import_table(table, Wanted(), label="kind", group="who", sensors={"t": ["t*"]})
    assert found.inputs["t"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found.inputs["t"].dtype == np.float32
    assert (found.class_names, found.labels.tolist()) == (("run", "walk"), [1, 0, 1])
    assert found.groups is not None
    assert found.groups.tolist() == ["ann", "ann", "bo"]
    found = import_table(table, Wanted(("walk", "run")), label="kind", sensors={"t": ["t2"]})
    assert (found.class_names, found.labels.tolist()) == (("walk", "run"), [0, 1, 0])
    found = import_table(table, Wanted(("slow", "quick")), label="fast", sensors={"t": ["t2"]})
    assert (found.class_names, found.labels.tolist()) == (("slow", "quick"), [0, 1, 0])
    found = import_table(table, Wanted(), label="t1", group="t2", sensors={"arm": ["arm_*"]})
    assert found.class_names == ("1", "3", "5"), "numbers of classes need not begin with 0"
    assert found.groups is not None
    assert found.groups.tolist() == [2, 4, 6]


def test_columns_of_labels_and_of_values(table: Path) -> None:
    sensors = {"arm": ["arm_y", "arm_x"], "t": ["t1"]}
    found = import_table(table, Wanted(labels=("fast",)), sensors=sensors)
    assert found.task == MultiLabel(("fast",))
    assert found.labels.tolist() == [[0], [1], [0]]
    assert found.inputs["arm"].tolist() == [[-1, 0.5], [-2, 0.25], [-3, 0.125]]
    found = import_table(table, Wanted(values=("high", "t1"), units=("m", "s")), sensors=sensors)
    assert found.task == Regression(("high", "t1"), ("m", "s"))
    assert found.labels.tolist() == [[1.5, 1], [2.5, 3], [3.5, 5]]


def test_by_default_all_other_columns_are_one_sensor(table: Path) -> None:
    table.write_text(TABLE.replace("who", "day").replace("ann", "1").replace("bo", "2"))
    found = import_table(_without(table, "kind"), Wanted(values=("high",)), group="day")
    assert list(found.inputs) == ["features"]
    assert found.inputs["features"][0].tolist() == [1, 2, 0.5, -1, 0]


def _without(table: Path, column: str) -> Path:
    lines = [line.split(",") for line in table.read_text().splitlines()]
    index = lines[0].index(column)
    table.write_text("\n".join(",".join(x[:index] + x[index + 1 :]) for x in lines))
    return table


@pytest.mark.parametrize(
    ("wanted", "options", "message"),
    [
        (Wanted(), {}, "expected the column of the class as --label, or the columns of several"),
        (Wanted(labels=("fast",)), {"label": "kind"}, "as --values; one of the three"),
        (Wanted(), {"label": "knd"}, "has no column 'knd': it has who, t1"),
        (Wanted(), {"label": "kind", "group": "where"}, "has no column 'where'"),
        (Wanted(), {"label": "kind", "sensors": {"a": ["leg_*"]}}, r"has no column 'leg_\*'"),
        (Wanted(), {"label": "kind"}, "line 2: column 'who' holds 'ann', which is no number"),
        (Wanted(labels=("high",)), {"sensors": {"t": ["t1"]}}, "expected 0 or 1"),
        (Wanted(labels=("t1",)), {"sensors": {"t": ["t2"]}}, "label 't1' of sample 1 is 3: exp"),
        (
            Wanted(("a",)),
            {"label": "kind", "sensors": {"t": ["t2"]}},
            "holds the class 'run', which is none",
        ),
    ],
)
def test_tables_that_are_refused(
    table: Path, wanted: Wanted, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        import_table(table, wanted, **options)
    assert "\n" not in str(error.value)


# -- pictures --------------------------------------------------------------------------------------


def write(root: Path, *names: str, size: tuple[int, int] = (4, 6)) -> None:
    """Pictures of one color each, by the order of the names; red above all, as OpenCV has it."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.zeros((*size, 3), np.uint8)
        picture[..., 2], picture[..., 1] = 200, 10 * i
        assert cv2.imwrite(str(root / name), picture)


def test_a_folder_a_class(tmp_path: Path) -> None:
    write(tmp_path, "dog/b.png", "cat/a.png", "cat/b.png")
    (tmp_path / ".DS_Store").write_text("")
    found = import_pictures(tmp_path, Wanted())
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.inputs["cam0"].shape == (3, 4, 6, 3)
    assert found.inputs["cam0"][:, 0, 0].tolist() == [[200, 10, 0], [200, 20, 0], [200, 0, 0]]
    found = import_pictures(tmp_path, Wanted(("dog", "cat", "cow")), (8, 2))
    assert found.labels.tolist() == [1, 1, 0]
    assert found.inputs["cam0"].shape == (3, 8, 2, 3)


def test_a_folder_a_sensor(tmp_path: Path) -> None:
    write(tmp_path, "left/dog/1.png", "right/dog/1.png", "left/cat/1.png", "right/cat/1.png")
    found = import_pictures(tmp_path, Wanted())
    assert list(found.inputs) == ["left", "right"]
    assert found.labels.tolist() == [0, 1]
    assert found.inputs["left"][:, 0, 0, 1].tolist() == [20, 0]
    assert found.inputs["right"][:, 0, 0, 1].tolist() == [30, 10]
    write(tmp_path, "left/cat/2.png")
    with pytest.raises(InputError, match="right has no picture cat/2, which other sensors have"):
        import_pictures(tmp_path, Wanted())


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("cat/notes.txt", r"notes\.txt is no picture: expected \.jpg"),
        ("cat/z.png", r"z\.png is corrupt"),
        ("cat/a.jpg", r"a\.png has the name of a\.jpg"),
        ("readme.md", r"readme\.md does not belong here: expected only folders"),
    ],
)
def test_folders_that_hold_something_else(tmp_path: Path, file: str, message: str) -> None:
    write(tmp_path, "cat/a.png", "dog/a.png")
    (tmp_path / file).write_text("nothing to see")
    with pytest.raises(InputError, match=message):
        import_pictures(tmp_path, Wanted())


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "cat/a.png", "dog/a.png")
    with pytest.raises(InputError, match="folders of pictures are classes; for other labels"):
        import_pictures(tmp_path, Wanted(values=("size",)))
    with pytest.raises(InputError, match="holds the class 'dog', which is none of --classes cat"):
        import_pictures(tmp_path, Wanted(("cat",)))
    write(tmp_path, "cat/b.png", size=(5, 6))
    with pytest.raises(InputError, match=r"b\.png has 5x6 pixels, a\.png 4x6: say with --size"):
        import_pictures(tmp_path, Wanted())
    (tmp_path / "cow").mkdir()
    with pytest.raises(InputError, match="cow is empty: expected pictures, or no such folder"):
        import_pictures(tmp_path, Wanted())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no folder: expected one a class"):
        import_pictures(tmp_path / "empty", Wanted())
