"""Checkpoints that survive a kill: staged, synced, with a manifest that is written last.

The protocol: write every file into a hidden sibling directory and sync it; write `MANIFEST.json`
with the size and sha256 of each; sync the directory; rename it; sync the parent; only then
prune, always keeping the two newest that are whole. A checkpoint counts only if every hash holds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from semeval_kit.errors import KitError
from semeval_kit.files import (
    remove_leftovers,
    remove_tree,
    sha256_file,
    sync_dir,
    write_atomic,
)

_MANIFEST = "MANIFEST.json"
_STATE = "state.json"
_KEEP = 2
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """All that a fold needs to go on after a step.

    Attributes:
        step: steps of the next one that are done.
        state: what is not a tensor: history, best score, fingerprint.
        model: trainable weights after the step.
        best: weights of the best epoch so far, or None where they are `model` or there are none.
        average: averaged weights, where there are such.
    """

    epoch: int
    step: int
    state: dict[str, Any]
    model: Tensors
    optimizer: Tensors
    best: Tensors | None
    average: Tensors = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and prune older ones.

    Returns:
        The directory of the checkpoint.

    Raises:
        KitError: less than twice its size is free on the disk; the older ones are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"model": checkpoint.model, "optimizer": checkpoint.optimizer}
    if checkpoint.best is not None:
        parts["best"] = checkpoint.best
    if checkpoint.average:
        parts["average"] = checkpoint.average
    _require_space(folder, parts)
    step = f"-step-{checkpoint.step:06d}" if checkpoint.step else ""
    target = folder / f"epoch-{checkpoint.epoch:04d}{step}"
    remove_tree(target)
    with staged_dir(target) as staging:
        for name, tensors in parts.items():
            save_file(tensors, staging / f"{name}.safetensors")
        text = json.dumps({"epoch": checkpoint.epoch, "step": checkpoint.step, **checkpoint.state})
        (staging / _STATE).write_text(text, encoding="utf-8")
    for old in _by_age(folder)[_KEEP:]:
        remove_tree(old)
    return target


def load_newest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """Load the newest checkpoint whose every file is as its manifest says.

    Returns:
        The checkpoint, or None where there is none that is whole.
    """
    if not folder.is_dir():
        return None
    remove_leftovers(folder)
    for path in _by_age(folder):
        fault = find_fault(path)
        if fault is None:
            return _read(path)
        warn(f"{path}: {fault}; falling back to the checkpoint before it.")
    return None


@contextmanager
def staged_dir(target: Path) -> Iterator[Path]:
    """Give a hidden directory to write into, which takes its name when all is written and synced.

    The manifest is written last. An exception leaves nothing under the name.
    """
    staging = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        manifest = {}
        for path in sorted(p for p in staging.rglob("*") if p.is_file()):
            with path.open("rb") as file:
                os.fsync(file.fileno())
            name = path.relative_to(staging).as_posix()
            manifest[name] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
        write_atomic(staging / _MANIFEST, json.dumps(manifest, indent=1))
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    os.replace(staging, target)
    sync_dir(target.parent)


def find_fault(path: Path) -> str | None:
    """Say what is wrong with a staged directory, or None where every file is as it was written."""
    try:
        manifest: Mapping[str, Any] = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        for name, entry in manifest.items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["size"]:
                return f"{name} has {file.stat().st_size} bytes, expected {entry['size']}"
            if sha256_file(file) != entry["sha256"]:
                return f"{name} is damaged (its sha256 differs)"
    except FileNotFoundError:
        return f"{_MANIFEST} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{_MANIFEST} is damaged"
    return None if manifest else f"{_MANIFEST} is empty"


def _read(path: Path) -> Checkpoint:
    state = json.loads((path / _STATE).read_text(encoding="utf-8"))
    # Not mapped into memory: NFS and FUSE cannot remove what is, and weights outlive the files.
    files = path.glob("*.safetensors")
    tensors = {file.stem: load_file(file, backend="pread") for file in files}
    return Checkpoint(
        epoch=int(state.pop("epoch")),
        step=int(state.pop("step")),
        state=state,
        model=tensors["model"],
        optimizer=tensors["optimizer"],
        best=tensors.get("best"),
        average=tensors.get("average", {}),
    )


def _by_age(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("epoch-*") if p.is_dir()), reverse=True)


def _require_space(folder: Path, parts: Mapping[str, Tensors]) -> None:
    need = 2 * sum(t.numel() * t.element_size() for part in parts.values() for t in part.values())
    free = shutil.disk_usage(folder).free
    if free < need:
        raise KitError(
            f"{folder}: a checkpoint needs {need / 1e6:.0f} MB free, the disk has "
            f"{free / 1e6:.0f} MB. Make room and run the same command: it goes on from the last."
        )
