"""Files that are whole or absent, and known: written, read, locked and removed.

A run's folders hold `SHA256SUMS` beside their files, as `sha256sum` writes and checks it: a stage
that writes a file notes its hash there, and a stage that reads the file compares. A folder without
it (an export, a table for a person) keeps nothing, and its files are read as they are.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semeval_kit.errors import BusyError, KitError

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps two commands off one run there
    fcntl = None  # type: ignore[assignment]

# Names of what is being written or removed: `write_atomic`, `staged_dir`, zips, `remove_tree`.
_HIDDEN = (".*.tmp", ".*.tmp.zip", ".*.tmp.csv", ".*.removed-*")


# How a shared or mounted file system says that it has no such call: a folder's fsync on CIFS, some
# FUSE mounts and old NFS; locks on Lustre without `flock`, or NFS without its lock daemon.
_NOT_OFFERED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}

SUMS = "SHA256SUMS"
AGAIN = "Remove it and run the same command again."


def read_json(path: Path, remedy: str = AGAIN) -> dict[str, Any]:
    """Read a JSON object that is known, or that lies where nothing is kept.

    Raises:
        KitError: the file is missing, damaged, or not what was written.
    """
    try:
        return dict(json.loads(read_kept(path, remedy)))
    except (ValueError, TypeError, RecursionError) as error:
        raise KitError(f"{path}: damaged ({error}). {remedy}") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, two-space indented, and note its hash."""
    write_kept(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_kept(path: Path, remedy: str = AGAIN) -> bytes:
    """Read a file of a run after comparing it with the hash that its writer noted.

    Raises:
        KitError: the file is missing, or is not what was written.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise KitError(f"{path}: no such file; the stage that writes it has not run.") from error
    if _keeps(path.parent):
        noted = _read_sums(path.parent, remedy).get(path.name, ())
        if hashlib.sha256(content).hexdigest() not in noted:
            raise KitError(
                f"{path}: is not what was written (its sha256 is not the one in {SUMS}). {remedy}"
            )
    return content


def write_kept(path: Path, content: str | bytes) -> None:
    """Write a file atomically and note its hash, where the folder is a run's.

    A kill in between leaves the old file or the new one, and both are known.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if not _keeps(path.parent):
        write_atomic(path, data)
        return
    digest = hashlib.sha256(data).hexdigest()
    sums = _read_sums(path.parent) if (path.parent / SUMS).is_file() else {}
    _write_sums(path.parent, {**sums, path.name: (*sums.get(path.name, ()), digest)})
    write_atomic(path, data)
    _write_sums(path.parent, {**sums, path.name: (digest,)})


def remove_kept(path: Path) -> None:
    """Remove a file and what was noted of it."""
    path.unlink(missing_ok=True)
    if (path.parent / SUMS).is_file():
        sums = _read_sums(path.parent)
        if sums.pop(path.name, None):
            _write_sums(path.parent, sums)


def is_noted(path: Path) -> bool:
    """Tell whether a file's hash was noted: then it must be there, too."""
    return (path.parent / SUMS).is_file() and path.name in _read_sums(path.parent)


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_files(folder: Path) -> None:
    """Begin to note the hashes of what is written into a folder and the folders in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SUMS).is_file():
        write_atomic(folder / SUMS, "")


def _keeps(folder: Path) -> bool:
    return (folder / SUMS).is_file() or (folder.parent / SUMS).is_file()


def _read_sums(folder: Path, remedy: str = AGAIN) -> dict[str, tuple[str, ...]]:
    """The noted hashes of each name: one, or two while a file is being written."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError as error:
        raise KitError(f"{folder / SUMS}: missing, so nothing here is known. {remedy}") from error
    sums: dict[str, tuple[str, ...]] = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        sums[name] = (*sums.get(name, ()), digest)
    return sums


def _write_sums(folder: Path, sums: Mapping[str, Sequence[str]]) -> None:
    lines = [f"{digest}  {name}\n" for name in sorted(sums) for digest in dict.fromkeys(sums[name])]
    write_atomic(folder / SUMS, "".join(lines))


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees all of it or nothing: temporary name, fsync, rename."""
    refuse_link(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode("utf-8") if isinstance(content, str) else content
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(temporary, flags, 0o644)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def refuse_link(folder: Path) -> None:
    """See that a folder of a run is its own, before anything is written or removed in it.

    Raises:
        KitError: it is a link, which may lead to files of somebody else.
    """
    if folder.is_symlink() and (folder.parent / SUMS).is_file():
        raise KitError(f"{folder}: is a link, and a run's folders are its own. Remove it.")


def to_csv(header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Spell a table as CSV with plain line ends; without a header line, where that is empty."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerows([header, *rows] if header else rows)
    return buffer.getvalue()


def sync_dir(path: Path) -> None:
    """Make the entries of a directory durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
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
    refuse_link(path.parent)
    hidden = path.with_name(f".{path.name}.removed-{os.getpid()}")
    os.replace(path, hidden)
    try:
        shutil.rmtree(hidden)
    except OSError as error:
        # NFS and FUSE keep what a process has open as .nfs* or .fuse_hidden*: `remove_leftovers`
        # takes the hidden folder away later.
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY):
            raise


@contextmanager
def hold_lock(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets go when the process ends.

    Waits so many seconds for another process. Where the file system has no locks, as where the
    system has none, nothing is held: folds still have their leases.

    Raises:
        BusyError: another process holds it.
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
                    raise BusyError(
                        f"{folder}: another process is at work here. Wait for it or stop it."
                    ) from error
                time.sleep(0.1)
            except OSError as error:
                if error.errno not in _NOT_OFFERED:
                    raise
                break
        yield
    finally:
        os.close(handle)
