"""The rules of the named splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddnn_tf.datasets.splits import Table, rows_of, split_names, training_split
from edge_runtime.errors import InputError

SEQUENCE = Table(labels=np.zeros(242, np.int64), frames=np.arange(1, 243), span=(1, 242))


def frames_of(name: str, table: Table = SEQUENCE) -> list[int]:
    assert table.frames is not None
    return [int(frame) for frame in table.frames[rows_of(name, table)]]


def test_time_splits_of_the_epfl_sequence() -> None:
    assert frames_of("time:train") == list(range(1, 166))
    assert frames_of("time:validation") == list(range(171, 196))
    assert frames_of("time:test") == list(range(201, 243))
    assert frames_of("time-backward:train") == list(range(143, 243))
    assert frames_of("time-backward:validation") == list(range(118, 137))
    assert frames_of("time-backward:test") == list(range(1, 112))


@pytest.mark.parametrize("family", ["time", "time-backward", "frame"])
def test_two_parts_may_be_trained_on_once_all_is_chosen(family: str) -> None:
    both = frames_of(f"{family}:train+validation")
    parts = [frames_of(f"{family}:{part}") for part in ("train", "validation", "test")]
    assert both == sorted(parts[0] + parts[1])
    assert not set(both) & set(parts[2])


@given(st.integers(0, 1000), st.integers(20, 3000))
def test_time_splits_scale_with_the_sequence(start: int, length: int) -> None:
    frames = np.arange(start, start + length)
    table = Table(labels=np.zeros(length, np.int64), frames=frames, span=(start, frames[-1]))
    parts = [frames_of(f"time:{part}", table) for part in ("train", "validation", "test")]
    assert max(parts[0]) < min(parts[1]) <= max(parts[1]) < min(parts[2])
    assert abs(len(parts[0]) / length - 165 / 242) < 0.05
    back = [frames_of(f"time-backward:{part}", table) for part in ("test", "validation", "train")]
    assert max(back[0]) < min(back[1]) <= max(back[1]) < min(back[2])


def test_frame_splits_interleave() -> None:
    assert frames_of("frame:test")[:3] == [5, 10, 15]
    assert frames_of("frame:validation")[:3] == [3, 8, 13]
    assert frames_of("frame:train")[:6] == [1, 2, 4, 6, 7, 9]


tables = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 12), st.integers(0, 2)), min_size=1, unique=True
).map(
    lambda rows: Table(
        labels=np.array([row[0] for row in rows], np.int64),
        frames=np.array([row[1] for row in rows], np.int64),
        objects=np.array([row[2] for row in rows], np.int64),
        folders=np.array(["train_dir"] * len(rows)),
        span=(1, 12),
    )
)


@given(tables)
def test_parts_of_a_folder(table: Table) -> None:
    whole = rows_of("train_dir", table)
    train = rows_of("train_dir:train", table)
    try:
        validation = rows_of("train_dir:validation", table)
    except InputError:
        validation = np.zeros(0, np.intp)
    assert sorted([*train, *validation]) == whole.tolist()
    for label in range(3):
        counts = [int((table.labels[rows] == label).sum()) for rows in (whole, train, validation)]
        if counts[0] > 1:
            assert min(counts[1:]) >= 1
        assert counts[1] >= min(counts[0], 1)
        assert table.frames is not None
        mine = [set(table.frames[r[table.labels[r] == label]]) for r in (whole, train, validation)]
        if len(mine[0]) > 1:
            assert not mine[1] & mine[2]
            assert len(mine[2]) == max(1, round(0.15 * len(mine[0])))


@given(st.lists(st.integers(0, 2), min_size=20, max_size=200))
def test_an_npz_is_divided_by_class(labels: list[int]) -> None:
    table = Table(labels=np.array(labels))
    parts = [rows_of(f"npz:{part}", table) for part in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for label, count in enumerate(np.bincount(labels, minlength=3)):
        got = [int((table.labels[rows] == label).sum()) for rows in parts]
        assert abs(got[0] - 0.7 * count) <= 1
        assert abs(got[1] - 0.15 * count) <= 1


def test_names_offered() -> None:
    assert split_names(Table(labels=np.zeros(1, np.int64))) == (
        "npz:train",
        "npz:validation",
        "npz:test",
        "npz:train+validation",
        "all",
    )
    folders = Table(np.zeros(2, np.int64), folders=np.array(["test_dir", "holdout_dir"]))
    assert split_names(folders)[:4] == (
        "holdout_dir",
        "holdout_dir:train",
        "holdout_dir:validation",
        "test_dir",
    )
    assert rows_of("all", folders).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["", "train", "time", "train_dir", "time:tests", "npz:train"])
def test_unknown_split(name: str) -> None:
    message = f"there is no split '{name}': this data has time:train, time:validation, .*, all"
    with pytest.raises(InputError, match=message):
        rows_of(name, SEQUENCE)


def test_empty_split() -> None:
    early = Table(np.zeros(2, np.int64), frames=np.array([1, 2]), span=(1, 242))
    with pytest.raises(InputError, match="split 'time:test' is empty: none of the 2 samples"):
        rows_of("time:test", early)


def test_what_a_split_is_trained_on() -> None:
    folders = Table(np.zeros(2, np.int64), folders=np.array(["test_dir", "train_dir"]))
    assert training_split("test_dir", folders) == "train_dir"
    assert training_split("time:test", SEQUENCE) == "time:train"
    assert training_split("time:train+validation", SEQUENCE) == "time:train+validation"
    assert training_split("all", SEQUENCE) == "all"
