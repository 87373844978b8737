"""Files that are whole or absent: written, read, locked and removed."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semeval_kit.errors import KitError

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps two commands off one run there
    fcntl = None  # type: ignore[assignment]

# Names of what is being written or removed: `write_atomic`, `staged_dir`, zips, `remove_tree`.
_HIDDEN = (".*.tmp", ".*.tmp.zip", ".*.tmp.csv", ".*.removed-*")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        KitError: the file is missing or damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise KitError(f"{path}: no such file; the stage that writes it has not run.") from error
    except (ValueError, TypeError) as error:
        raise KitError(f"{path}: damaged ({error}). Remove it and run the same command.") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, two-space indented."""
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees all of it or nothing: temporary name, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode("utf-8") if isinstance(content, str) else content
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_dir(path.parent)


def to_csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Spell a table as CSV with a header and plain line ends."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()


def sync_dir(path: Path) -> None:
    """Make the entries of a directory durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill in the middle of writing or removing left right inside a folder."""
    for pattern in _HIDDEN:
        for path in folder.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a directory: first hidden under another name, so that it never looks whole."""
    if not path.exists():
        return
    hidden = path.with_name(f".{path.name}.removed-{os.getpid()}")
    os.replace(path, hidden)
    shutil.rmtree(hidden)


@contextmanager
def hold_lock(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets go when the process ends.

    Args:
        folder: an existing directory.
        seconds: how long to wait for another process.

    Raises:
        KitError: another process holds it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    give_up = time.monotonic() + seconds
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= give_up:
                    raise KitError(
                        f"{folder}: another process is at work here. Wait for it or stop it."
                    ) from error
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
