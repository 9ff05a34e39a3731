"""Logs in the form of the MHEALTH set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ddnn_tf.datasets import load, read_mhealth
from ddnn_tf.datasets.mhealth import ACTIVITIES, CHANNELS
from edge_runtime.errors import InputError

PARTS = ("train", "validation", "test", "train+validation")
WriteLogs = Callable[..., Path]

#: Subject to (activity, instants), one after the other.
LOGS = {
    1: [(0, 7), (4, 25), (4, 0), (11, 12), (0, 3), (4, 10)],
    2: [(11, 21)],
    10: [(4, 10), (11, 9)],
}


def channels(subject: int, count: int) -> NDArray[np.float64]:
    """Every value tells of whom and when it is; floats that no byte could hold."""
    instants = np.arange(count)[:, None]
    return np.asarray(-9.7 * subject + instants / 4 + np.arange(CHANNELS) / 100)


@pytest.fixture
def write_logs(tmp_path: Path) -> WriteLogs:
    def write(logs: dict[int, list[tuple[int, int]]] = LOGS) -> Path:
        root = tmp_path / "mhealth"
        root.mkdir()
        (root / "README.txt").write_text("not a log")
        for subject, runs in logs.items():
            activities = np.concatenate([np.full(count, a) for a, count in runs])
            table = np.column_stack([channels(subject, len(activities)), activities])
            formats = ["%.4f"] * CHANNELS + ["%d"]
            path = root / f"mHealth_subject{subject}.log"
            np.savetxt(path, table, fmt=formats, delimiter="\t")
        return root

    return write


def test_windows_hold_one_activity_of_one_subject(write_logs: WriteLogs) -> None:
    data = read_mhealth(write_logs(), window=10)
    walking, running = ACTIVITIES.index("walking"), ACTIVITIES.index("running")
    assert data.samples.labels.tolist() == [walking] * 2 + [running, walking] + [
        running,
        running,
        walking,
    ]
    assert data.groups is not None
    assert data.groups.tolist() == [1, 1, 1, 1, 2, 2, 10]
    assert data.class_names == ACTIVITIES
    views = data.samples.inputs["body"]
    assert views.shape == (7, 10, CHANNELS)
    assert views.dtype == np.float32
    first = channels(1, 60)
    for window, start in zip(views[:4], (7, 17, 32, 47), strict=True):
        assert window == pytest.approx(first[start : start + 10], abs=1e-3)
    assert data.summary.events == {
        "dropped instants without activity": 10,
        "dropped instants at the end of an activity": 5 + 2 + 1 + 9,
    }


def test_a_stride_lets_windows_overlap(write_logs: WriteLogs) -> None:
    data = read_mhealth(write_logs({3: [(1, 20)]}), window=10, stride=4)
    assert data.samples.inputs["body"][:, 0, 0] == pytest.approx(channels(3, 20)[[0, 4, 8], 0])
    assert data.summary.events == {"dropped instants at the end of an activity": 2}


def test_nobody_is_trained_on_and_reported(write_logs: WriteLogs) -> None:
    root = write_logs({n: [(1 + n % 2, 60)] for n in range(1, 11)})
    data = load(root)
    assert data.form == "mhealth"
    assert data.split_names == (
        *(f"{family}:{part}" for family in ("group", "npz") for part in PARTS),
        "all",
    )
    parts = [data.train, data.validation, data.test]
    whose = [np.unique(np.round(-part.inputs["body"][:, 0, 0] / 9.7)).tolist() for part in parts]
    assert whose == [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10]]


def test_two_subjects_train_and_test(write_logs: WriteLogs) -> None:
    data = read_mhealth(write_logs({4: [(1, 10)], 7: [(2, 10)]}), window=10)
    assert [len(data.train.labels), len(data.test.labels)] == [1, 1]
    with pytest.raises(InputError, match="split 'group:validation' is empty: its 2 groups"):
        data.split("group:validation")


def test_one_subject_alone_is_divided_at_random(write_logs: WriteLogs) -> None:
    data = read_mhealth(write_logs({3: [(1, 200)]}), window=10)
    assert [data.train.name, data.test.name] == ["npz:train", "npz:test"]
    assert data.leak("npz:test") is None


def test_an_exported_part_keeps_whose_it_is(write_logs: WriteLogs, tmp_path: Path) -> None:
    data = read_mhealth(write_logs(), window=10)
    data.split("group:test").samples.save_npz(tmp_path / "test.npz")
    groups = load(tmp_path / "test.npz").groups
    assert groups is not None
    assert groups.tolist() == [10]


def damaged(path: Path, how: str) -> None:
    lines = path.read_text().splitlines()
    if how == "empty":
        lines = []
    elif how == "short":
        lines = [line.partition("\t")[2] for line in lines]
    elif how == "ragged":
        lines[4] = lines[4].partition("\t")[2]
    elif how == "word":
        lines[4] = lines[4].replace("\t", "\tnone\t", 1).rpartition("\t")[0]
    elif how == "nan":
        lines[4] = "nan\t" + lines[4].partition("\t")[2]
    elif how == "activity":
        lines[4] = lines[4].rpartition("\t")[0] + "\t13"
    elif how == "half":
        lines[4] = lines[4].rpartition("\t")[0] + "\t1.5"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty", "is empty: expected 23 channels and the number of an activity"),
        ("short", "expected 23 channels and the number of an activity.*got 23 columns"),
        ("ragged", "expected 23 channels.*row 5"),
        ("word", "expected 23 channels.*could not convert string 'none'.*row 4"),
        ("nan", "line 5: expected finite numbers and an activity from 0 to 12, got nan"),
        ("activity", "line 5: expected finite numbers .* 13. Restore"),
        ("half", r"line 5: expected finite numbers .* 1\.5. Restore"),
    ],
)
def test_a_damaged_log_is_named(write_logs: WriteLogs, how: str, message: str) -> None:
    root = write_logs()
    damaged(root / "mHealth_subject2.log", how)
    with pytest.raises(InputError, match=rf"mHealth_subject2\.log.*{message}"):
        read_mhealth(root, window=10)


def test_a_subject_twice_is_refused(write_logs: WriteLogs) -> None:
    root = write_logs()
    (root / "mhealth_subject02.log").write_text("")
    with pytest.raises(InputError, match="subject 2 a second time"):
        read_mhealth(root)


def test_windows_that_fit_nowhere_are_refused(write_logs: WriteLogs) -> None:
    root = write_logs()
    with pytest.raises(InputError, match="no activity lasts for 50 instants; choose a shorter"):
        read_mhealth(root)
    with pytest.raises(InputError, match="a window and a stride of at least 1, got 10 and 0"):
        read_mhealth(root, window=10, stride=0)
