"""Files that are whole or absent, and folders that one process holds."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from semeval_kit.errors import BusyError
from semeval_kit.files import (
    hold_lock,
    keep_files,
    read_json,
    remove_leftovers,
    remove_tree,
    write_atomic,
    write_json,
)


def test_files_are_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    write_atomic(path, b"bytes")
    assert path.read_bytes() == b"bytes"


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    path = tmp_path / "a.txt"
    path.with_name(f".{path.name}.{os.getpid()}.tmp").symlink_to(victim)
    with pytest.raises(OSError, match=r"."):
        write_atomic(path, "new")
    assert victim.read_text(encoding="utf-8") == "mine"


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    (tmp_path / "score.json").symlink_to(victim)
    write_json(tmp_path / "score.json", {"a": 1})
    assert victim.read_text(encoding="utf-8") == "mine"
    assert read_json(tmp_path / "score.json") == {"a": 1}


def test_trees_are_hidden_before_they_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_tree(tmp_path / "none")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("a", encoding="utf-8")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed here
    remove_tree(folder)
    monkeypatch.undo()
    assert not folder.exists()
    assert [p.name for p in tmp_path.iterdir()] == [f".model.removed-{os.getpid()}"]
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_only_what_the_kit_hides(tmp_path: Path) -> None:
    kept = [".gitignore", "a.tmp", ".hidden", "model"]
    for name in (*kept, ".a.csv.12.tmp", ".run.12.tmp.zip"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path),
        pytest.raises(BusyError, match="another process is at work here"),
        hold_lock(tmp_path, seconds=0.2),
    ):
        pass
    with hold_lock(tmp_path):
        pass


def refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_mounted_drive_without_locks_and_without_fsync_of_folders_will_do(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def sync_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise refuse(number)
        sync(handle)

    def lock(*_: Any) -> None:
        raise refuse(number)

    monkeypatch.setattr(os, "fsync", sync_files)
    monkeypatch.setattr(fcntl, "flock", lock)
    with hold_lock(tmp_path):
        keep_files(tmp_path)
        write_json(tmp_path / "run.json", {"a": 1})
    assert read_json(tmp_path / "run.json") == {"a": 1}


def test_a_drive_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise refuse(errno.EIO)

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output"), hold_lock(tmp_path):
        pass
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_atomic(tmp_path / "a.txt", "a")


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EBUSY])
def test_what_nfs_keeps_of_an_open_file_is_removed_later(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(path: Path, **_: Any) -> None:
        (path / "model.safetensors").rename(path / ".nfs0000000000c122")
        raise refuse(number)

    folder = tmp_path / "epoch-0001"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"open somewhere")
    monkeypatch.setattr(shutil, "rmtree", remove)
    remove_tree(folder)
    monkeypatch.undo()
    assert not folder.exists()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(path: Path, **_: Any) -> None:
        raise refuse(errno.EACCES)

    (tmp_path / "model").mkdir()
    monkeypatch.setattr(shutil, "rmtree", remove)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path / "model")
