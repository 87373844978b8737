"""A run in one file, to be carried to another machine, and back into a folder there."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from semeval_kit.errors import KitError
from semeval_kit.files import SUMS, hold_lock, sha256_file
from semeval_kit.run.directory import Run

_LEFT_OUT = ("worker.log", "state.json", "cluster.json")


def pack_run(run: Run, path: Path, *, weights: bool = True) -> Path:
    """Zip a run's folder; what is being written, and logs, stay behind.

    Args:
        run: one that no process is at work on.
        path: the zip to be; it must not exist.
        weights: whether the folds' models and checkpoints go along. Without them a finished run is
            decided, packed, compared and reported, but predicts no new text.

    Raises:
        KitError: the zip exists, or a process is at work on the run.
    """
    if path.exists():
        raise KitError(f"{path}: exists. Name another file, or move it away.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with hold_lock(run.path):
        try:
            with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for file in sorted(run.path.rglob("*")):
                    name = file.relative_to(run.path)
                    if _is_carried(file, name, weights):
                        archive.write(file, PurePosixPath(run.name, *name.parts).as_posix())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def unpack_run(path: Path, folder: Path) -> Run:
    """Unpack what `pack_run` made into `folder/NAME`, after comparing every file with its hash.

    Raises:
        KitError: the file is no such zip, holds a name that leads elsewhere, a file is another
            than what was written, or the run is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".{path.stem}.{os.getpid()}.tmp"
    try:
        with zipfile.ZipFile(path) as archive:
            name = _check_names(path, archive.infolist())
            if (folder / name).exists():
                raise KitError(f"{folder / name}: exists. Move it away, or give another --to.")
            archive.extractall(staging)
        run = Run.open(staging / name)
        _ = run.settings, run.task
        find_changed(run.path)
        os.replace(staging / name, folder / name)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise KitError(f"{path}: is no zip of a run ({error}). Pack the run again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Run.open(folder / name)


def find_changed(folder: Path) -> None:
    """Compare every file that a run's folders note with its hash.

    Raises:
        KitError: a file is missing or another than what was written.
    """
    for sums in sorted(folder.rglob(SUMS)):
        for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition("  ")
            file = sums.parent / name
            if not file.is_file() and name in _LEFT_OUT:
                continue
            if not file.is_file() or sha256_file(file) != digest:
                place = file.relative_to(folder)
                raise KitError(f"{place}: missing, or not what was written. Pack the run again.")


def _is_carried(file: Path, name: Path, weights: bool) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    heavy = bool({"model", "checkpoint"} & set(name.parts[:-1]))
    carried = file.is_file() and not file.is_symlink() and name.name not in _LEFT_OUT
    return carried and not hidden and (weights or not heavy) and "cluster" not in name.parts[:-1]


def _check_names(path: Path, members: list[zipfile.ZipInfo]) -> str:
    tops = set()
    for member in members:
        name = PurePosixPath(member.filename)
        is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or is_link:
            raise KitError(f"{path}: the name '{member.filename[:80]}' leads elsewhere. Refused.")
        tops.add(name.parts[0] if len(name.parts) > 1 else "")
    if len(tops) != 1 or tops == {""}:
        raise KitError(f"{path}: is no zip of a run. Make one with `semeval-kit pack-run`.")
    return str(tops.pop())
