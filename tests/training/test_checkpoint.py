"""Checkpoints: every fault of every file is noticed, and the one before is used."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semeval_kit.errors import KitError
from semeval_kit.training import checkpoint as module
from semeval_kit.training.checkpoint import (
    Checkpoint,
    find_fault,
    load_newest,
    save_checkpoint,
    staged_dir,
)

FILES = ("MANIFEST.json", "best.safetensors", "model.safetensors", "optimizer.safetensors")
FILES += ("state.json",)


def make(epoch: int, *, best: bool = True, step: int = 0) -> Checkpoint:
    return Checkpoint(
        epoch=epoch,
        step=step,
        state={"history": [{"epoch": epoch, "macro_f1": 0.1 + 0.2}], "best_value": 1 / 3},
        model={"weight": torch.full((3, 4), float(epoch))},
        optimizer={"0.step": torch.tensor(float(epoch)), "0.exp_avg": torch.rand(3, 4)},
        best={"weight": torch.full((3, 4), 0.5)} if best else None,
    )


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with the checkpoints of epochs 1 and 2."""
    for epoch in (1, 2):
        save_checkpoint(tmp_path, make(epoch))
    return tmp_path


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = make(3)
    folder = save_checkpoint(tmp_path, saved)
    assert sorted(path.name for path in folder.iterdir()) == list(FILES)
    warnings: list[str] = []
    found = load_newest(tmp_path, warnings.append)
    assert found is not None
    assert (found.epoch, found.state, warnings) == (3, saved.state, [])
    assert found.best is not None
    assert saved.best is not None
    for a, b in (
        (found.model, saved.model),
        (found.optimizer, saved.optimizer),
        (found.best, saved.best),
    ):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux lists its mappings")
def test_weights_that_were_read_do_not_hang_on_their_files(two: Path) -> None:
    """A network drive cannot remove a file that is mapped into memory."""
    kept = load_newest(two, pytest.fail)
    assert kept is not None
    assert kept.best is not None
    assert str(two) not in Path("/proc/self/maps").read_text(encoding="utf-8")
    shutil.rmtree(two / "epoch-0002")
    assert kept.best["weight"].tolist() == [[0.5] * 4] * 3


def test_the_best_weights_are_left_out_where_they_are_the_last(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, make(1, best=False))
    assert not (folder / "best.safetensors").exists()
    found = load_newest(tmp_path, pytest.fail)
    assert found is not None
    assert found.best is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [delete, truncate, empty, flip_a_bit])
def test_a_fault_is_noticed_and_the_one_before_is_used(
    two: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(two / "epoch-0002" / name)
    warnings: list[str] = []
    found = load_newest(two, warnings.append)
    assert found is not None
    assert found.epoch == 1
    assert len(warnings) == 1
    assert str(two / "epoch-0002") in warnings[0]
    # A flipped bit of the manifest shows as the fault of a file that it speaks of.
    said = warnings[0]
    assert name in said or (name == FILES[0] and any(other in said for other in FILES))
    assert "falling back" in warnings[0]


def test_every_bit_of_a_checkpoint_counts(two: Path) -> None:
    folder = two / "epoch-0002"
    for name in FILES[1:]:
        content = (folder / name).read_bytes()
        for position in range(0, len(content), max(1, len(content) // 40)):
            damaged = bytearray(content)
            damaged[position] ^= 1 << (position % 8)
            (folder / name).write_bytes(bytes(damaged))
            assert find_fault(folder) == f"{name} is damaged (its sha256 differs)"
        (folder / name).write_bytes(content)
    assert find_fault(folder) is None


def test_without_a_whole_checkpoint_there_is_none(two: Path) -> None:
    for epoch in (1, 2):
        delete(two / f"epoch-000{epoch}" / "optimizer.safetensors")
    warnings: list[str] = []
    assert load_newest(two, warnings.append) is None
    assert len(warnings) == 2
    assert load_newest(two / "none", pytest.fail) is None


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for epoch in range(1, 12):
        save_checkpoint(tmp_path, make(epoch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0010", "epoch-0011"]


def test_steps_within_an_epoch_come_after_it_and_before_the_next(tmp_path: Path) -> None:
    for epoch, step in ((1, 0), (1, 20), (1, 1000), (2, 0), (2, 5)):
        save_checkpoint(tmp_path, make(epoch, step=step))
        found = load_newest(tmp_path, pytest.fail)
        assert found is not None
        assert (found.epoch, found.step) == (epoch, step)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch-0002", "epoch-0002-step-000005"]


def test_an_epoch_that_is_saved_again_takes_the_place_of_the_first(two: Path) -> None:
    flip_a_bit(two / "epoch-0002" / "model.safetensors")
    save_checkpoint(two, make(2))
    found = load_newest(two, pytest.fail)
    assert found is not None
    assert found.epoch == 2


@pytest.mark.parametrize("step", ["save_file", "os.fsync", "write_atomic", "os.replace"])
def test_a_crash_while_writing_leaves_the_one_before(
    two: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr(module if "." not in step else module.os, step.removeprefix("os."), crash)
    with pytest.raises(RuntimeError):
        save_checkpoint(two, make(3))
    monkeypatch.undo()
    found = load_newest(two, pytest.fail)
    assert found is not None
    assert found.epoch == 2
    assert sorted(path.name for path in two.iterdir()) == ["epoch-0001", "epoch-0002"]


def test_what_a_kill_left_is_removed(two: Path) -> None:
    for name in (".epoch-0003.77.tmp", ".epoch-0000.removed-77"):
        shutil.copytree(two / "epoch-0002", two / name)
    found = load_newest(two, pytest.fail)
    assert found is not None
    assert found.epoch == 2
    assert sorted(path.name for path in two.iterdir()) == ["epoch-0001", "epoch-0002"]


def test_the_manifest_is_written_last_and_everything_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.replace

    def spy(handle: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        fsync(handle)

    def move(old: Path, new: Path) -> None:
        order.append(f"-> {Path(new).name}")
        rename(old, new)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(os, "replace", move)
    save_checkpoint(tmp_path, make(1))
    pid = os.getpid()
    staging = f".epoch-0001.{pid}.tmp"
    assert order == [
        "best.safetensors",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        f".MANIFEST.json.{pid}.tmp",
        "-> MANIFEST.json",
        staging,
        "-> epoch-0001",
        tmp_path.name,
    ]


def test_a_full_disk_is_told_before_anything_is_written(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 290))
    with pytest.raises(KitError, match="needs 0 MB free, the disk has 0 MB. Make room"):
        save_checkpoint(two, make(3))
    found = load_newest(two, pytest.fail)
    assert found is not None
    assert found.epoch == 2


def test_twice_the_size_of_the_checkpoint_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    size = 4 * (12 + 1 + 12 + 12)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * size - 1))
    with pytest.raises(KitError):
        save_checkpoint(tmp_path, make(1))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * size))
    save_checkpoint(tmp_path, make(1))


def test_a_staged_directory_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def fail() -> None:
        with staged_dir(target) as staging:
            (staging / "a.txt").write_text("a", encoding="utf-8")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert list(tmp_path.iterdir()) == []
    with staged_dir(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "a.txt").write_text("a", encoding="utf-8")
        assert not target.exists()
    assert find_fault(target) is None
    manifest = json.loads((target / "MANIFEST.json").read_text(encoding="utf-8"))
    assert manifest["sub/a.txt"]["size"] == 1


def test_a_manifest_that_names_nothing_is_a_fault(tmp_path: Path) -> None:
    for text, fault in (("{}", "is empty"), ("[]", "is damaged"), ('{"a": 1}', "a is missing")):
        (tmp_path / "MANIFEST.json").write_text(text, encoding="utf-8")
        assert fault in str(find_fault(tmp_path))
