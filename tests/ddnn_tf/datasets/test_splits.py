"""The rules of the named splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddnn_tf.datasets.splits import (
    Table,
    group_names,
    leak_of,
    rows_of,
    split_names,
    training_split,
)
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


# -- groups, and what leaks ------------------------------------------------------------------------


def grouped(groups: list[int] | list[str]) -> Table:
    return Table(labels=np.zeros(len(groups), np.int64), groups=np.array(groups))


def test_groups_are_in_the_order_of_the_numbers_in_their_names() -> None:
    names = ["s10", "s2", "s1b", "s1", "a", "s2"]
    assert group_names(np.array(names)) == ["a", "s1", "s1b", "s2", "s10"]
    assert group_names(np.array([10, -1, 2, 10])) == [-1, 2, 10]


@given(st.lists(st.integers(0, 12) | st.integers(-3, 900), min_size=2, max_size=60))
def test_a_split_by_group_shares_none_and_loses_none(numbers: list[int]) -> None:
    for table in (grouped(numbers), grouped([f"day {n}" for n in numbers])):
        assert table.groups is not None
        if len(set(numbers)) < 2:
            assert not any(name.startswith("group:") for name in split_names(table))
            continue
        names = [f"group:{part}" for part in ("train", "validation", "test")]
        if len(set(numbers)) == 2:
            names.remove("group:validation")
        parts = [rows_of(name, table) for name in names]
        assert sorted(np.concatenate(parts)) == list(range(len(numbers)))
        whose = [set(table.groups[rows].tolist()) for rows in parts]
        assert sum(map(len, whose)) == len(set(numbers))
        assert [leak_of(name, table) for name in names] == [None] * len(names)


def test_two_groups_are_too_few_for_three_parts() -> None:
    with pytest.raises(InputError, match="'group:validation' is empty: its 2 groups are too few"):
        rows_of("group:validation", grouped(["a", "b", "b"]))


def test_a_random_split_of_groups_leaks() -> None:
    table = grouped(["a"] * 20 + ["b"] * 20 + ["c"] * 20)
    assert leak_of("npz:test", table) == (
        "npz:test leaks, so what is new will be harder: its groups are in npz:train too, such as "
        "a; use group:test"
    )
    found = leak_of("npz:validation", table, trained="group:train")
    assert found is not None
    assert "1 of its 3 groups are in group:train too, such as a; use group:validation" in found
    assert leak_of("npz:train", table) is None
    assert leak_of("all", table) is None
    assert leak_of("npz:test", grouped(["a"] * 60)) is None, "of one group nothing is known"
    assert leak_of("npz:test", Table(labels=table.labels)) is None


def test_frames_between_one_another_leak() -> None:
    assert leak_of("frame:test", SEQUENCE) == (
        "frame:test leaks, so what is new will be harder: its frames lie between those of "
        "frame:train, and successive frames are alike; use time:test"
    )
    for family in ("time", "time-backward"):
        for part in ("train", "validation", "test", "train+validation"):
            assert leak_of(f"{family}:{part}", SEQUENCE) is None
    early = Table(np.zeros(2, np.int64), frames=np.array([241, 242]), span=(1, 242))
    assert leak_of("time:test", early) is None, "nothing is trained on"
    with pytest.raises(InputError, match="split 'time:train' is empty"):
        leak_of("time:train", early)
