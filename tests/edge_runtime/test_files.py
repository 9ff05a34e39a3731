import os
import re
import stat
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edge_runtime.errors import InputError
from edge_runtime.files import new_file, new_folder, read_checked, sha256

MARK = "mark.json"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder in which a stray temporary file would be seen."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def interrupted(place: AbstractContextManager[Path]) -> None:
    """Write something and be stopped by Ctrl-C."""
    with place as temporary:
        (temporary / MARK if temporary.is_dir() else temporary).write_text("half")
        raise KeyboardInterrupt


def replaced(target: Path) -> None:
    with new_folder(target, replaces=MARK) as temporary:
        (temporary / MARK).write_text("new")


def refused(place: AbstractContextManager[Path]) -> str:
    """The error with which a place is refused before any work."""
    with pytest.raises(InputError) as caught, place:
        pytest.fail("the work was begun")
    return str(caught.value)


# -- reading -----------------------------------------------------------------------------------


def test_a_file_with_the_right_hash_is_read(work: Path) -> None:
    (work / "a").write_bytes(b"abc")
    assert read_checked(work / "a", sha256(b"abc")) == b"abc"
    # The published test vector of SHA-256, FIPS 180-2, B.1.
    assert sha256(b"abc").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("damage", [b"", b"ab", b"abd", b"abcd"])
def test_a_damaged_file_is_refused_with_its_path_and_both_hashes(damage: bytes, work: Path) -> None:
    (work / "a").write_bytes(damage)
    with pytest.raises(InputError) as caught:
        read_checked(work / "a", sha256(b"abc"))
    for fragment in (str(work / "a"), "ba7816bf8f01", sha256(damage)[:12], "export it again"):
        assert fragment in str(caught.value)


def test_a_missing_file_is_refused_with_its_path(work: Path) -> None:
    with pytest.raises(InputError, match=r"none: cannot be read \(No such file"):
        read_checked(work / "none", sha256(b""))


# -- a new file --------------------------------------------------------------------------------


def test_a_file_appears_when_the_block_ends_and_not_before(work: Path) -> None:
    target = work / "data.npz"
    with new_file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".npz", "Keras and numpy go by it"
    assert target.read_text() == "new"
    assert os.listdir(work) == ["data.npz"]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(work: Path) -> None:
    target = work / "data.npz"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(new_file(target))
    assert target.read_text() == "old"
    assert os.listdir(work) == ["data.npz"]


def test_a_file_has_the_usual_permissions(work: Path) -> None:
    (work / "usual").touch()
    with new_file(work / "new") as temporary:
        temporary.touch()
    assert permissions(work / "new") == permissions(work / "usual")


def test_a_file_gets_the_folders_it_needs(work: Path) -> None:
    with new_file(work / "a" / "b" / "c") as temporary:
        temporary.touch()
    assert (work / "a" / "b" / "c").is_file()


@pytest.mark.parametrize("name", ["file/new", "folder"])
def test_a_place_that_cannot_be_written_is_known_before_the_work(name: str, work: Path) -> None:
    (work / "file").touch()
    (work / "folder").mkdir()
    assert re.search(rf"cannot write .*{name}.*choose a place", refused(new_file(work / name)))
    assert sorted(os.listdir(work)) == ["file", "folder"]


# -- a new folder ------------------------------------------------------------------------------


def test_a_folder_appears_when_the_block_ends_and_not_before(work: Path) -> None:
    target = work / "bundle"
    with new_folder(target, replaces=MARK) as temporary:
        (temporary / MARK).write_text("new")
        assert not target.exists()
        assert temporary.parent == work, "a rename must not cross file systems"
    assert (target / MARK).read_text() == "new"
    assert os.listdir(work) == ["bundle"]
    (work / "usual").mkdir()
    assert permissions(target) == permissions(work / "usual")


def test_a_marked_folder_is_replaced_as_a_whole(work: Path) -> None:
    target = work / "bundle"
    target.mkdir()
    (target / MARK).write_text("old")
    (target / "stale").touch()
    with new_folder(target, replaces=MARK) as temporary:
        (temporary / MARK).write_text("new")
        assert (target / MARK).read_text() == "old"
    assert os.listdir(target) == [MARK]
    assert (target / MARK).read_text() == "new"
    assert os.listdir(work) == ["bundle"]


def test_an_empty_folder_is_taken(work: Path) -> None:
    (work / "bundle").mkdir()
    with new_folder(work / "bundle", replaces=MARK) as temporary:
        (temporary / MARK).touch()
    assert os.listdir(work / "bundle") == [MARK]
    assert os.listdir(work) == ["bundle"]


def test_a_failed_block_leaves_the_old_folder_and_nothing_else(work: Path) -> None:
    target = work / "bundle"
    target.mkdir()
    (target / MARK).write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(new_folder(target, replaces=MARK))
    assert (target / MARK).read_text() == "old"
    assert os.listdir(work) == ["bundle"]


def test_a_rename_that_fails_gives_the_old_folder_back(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = work / "bundle"
    target.mkdir()
    (target / MARK).write_text("old")
    rename = os.replace

    def refuse(source: Path, destination: Path) -> None:
        if destination == target and (Path(source) / MARK).read_text() == "new":
            raise OSError(28, "No space left on device")
        rename(source, destination)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        replaced(target)
    assert (target / MARK).read_text() == "old"
    assert os.listdir(work) == ["bundle"]


def test_a_foreign_folder_or_file_is_left_alone(work: Path) -> None:
    (work / "thesis").mkdir()
    (work / "thesis" / "chapter1.tex").write_text("dear")
    (work / "file").write_text("dear")
    for name in ("thesis", "file"):
        message = refused(new_folder(work / name, replaces=MARK))
        assert re.search(rf"{name} exists and has no {MARK}.*choose another", message)
    assert (work / "thesis" / "chapter1.tex").read_text() == "dear"
    assert (work / "file").read_text() == "dear"
    assert sorted(os.listdir(work)) == ["file", "thesis"]


def test_a_folder_below_a_file_is_known_before_the_work(work: Path) -> None:
    (work / "file").touch()
    message = refused(new_folder(work / "file" / "bundle", replaces=MARK))
    assert re.search("cannot write .*bundle.*choose a place", message)
    assert os.listdir(work) == ["file"]
