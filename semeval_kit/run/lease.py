"""Who is at work on a fold: a small file that beats, so that other machines see it, too.

A lock of the system keeps two processes of one machine apart. On a shared file system it may not
reach other machines; there the lease does: it is fresh while its file's time moves. Times are
compared with that of a file just written beside it, so that no two clocks need to agree.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from semeval_kit.errors import BusyError
from semeval_kit.files import write_atomic

_BEAT_SECONDS = 15.0
_STALE_SECONDS = 90.0
_NOTE_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_TOLD = ("epoch", "epochs", "step", "steps", "rows_per_second", "split", "done", "rows")


class Lease:
    """The file that says who is at work on a fold, and how far it is."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is written by `hold_lease`."""
        self.path = path
        self.content: dict[str, Any] = {
            "state": "running",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "parent": os.getppid(),
        }
        self._last = 0.0

    def note(self, event: dict[str, Any]) -> None:
        """Keep what an event of training or predicting says: the first, then every few seconds."""
        told = {name: event[name] for name in _TOLD if name in event}
        is_first = bool(told) and not self.content.keys() & told.keys()
        self.content |= told
        if is_first or time.monotonic() - self._last >= _NOTE_SECONDS:
            self.write()

    def write(self, **more: Any) -> None:
        """Write what is known now; a disk that takes nothing is somebody else's to tell."""
        self.content |= more
        self._last = time.monotonic()
        with suppress(OSError):
            write_atomic(self.path, json.dumps(self.content, indent=2) + "\n")


@contextmanager
def hold_lease(path: Path) -> Iterator[Lease]:
    """Say in a file that this process is at work, for as long as it is.

    A lease whose time stands still is waited for, until it is stale and is taken over. When the
    work fails its reason stays there.

    Raises:
        BusyError: a process of another machine is at work, and its lease beats.
    """
    _wait_for_another(path)
    lease, ended = Lease(path), threading.Event()
    lease.write()

    def beat() -> None:
        while not ended.wait(_BEAT_SECONDS):
            with suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield lease
    except BaseException as error:
        ended.set()
        stopped = isinstance(error, (SystemExit, KeyboardInterrupt))
        lease.write(state="stopped" if stopped else "failed", why=str(error))
        raise
    ended.set()
    path.unlink(missing_ok=True)


def read_lease(path: Path) -> dict[str, Any]:
    """What a lease says; empty where there is none.

    "running" is "lost" where its process is gone, or the file's time stands still.
    """
    try:
        content = dict(json.loads(path.read_bytes()))
        age = _now(path.parent) - path.stat().st_mtime
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    if content.get("state") == "running" and (age > _STALE_SECONDS or _is_gone(content)):
        content["state"] = "lost"
    return content


def _wait_for_another(path: Path) -> None:
    """Wait while the lease of another machine's process stands still: its node may have died."""
    seen = 0.0
    while (other := read_lease(path)).get("state") == "running":
        if other.get("host") == socket.gethostname():
            return  # whose lock on the folder this process holds
        with suppress(OSError):
            beat = path.stat().st_mtime
            if seen and beat != seen:
                raise BusyError(
                    f"{path.parent}: process {other.get('pid')} of {other['host']} is at work "
                    "here. Wait for it or stop it there."
                )
            seen = beat
        time.sleep(_LOOK_SECONDS)


def _is_gone(content: dict[str, Any]) -> bool:
    """Whether the process of a lease is of this machine and no more."""
    if content.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(content["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError, TypeError):
        return True
    except OSError:  # another user's
        return False
    return False


def _now(folder: Path) -> float:
    """The time of the disk that a folder is on; this machine's, where nothing can be written."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.", suffix=".tmp") as file:
            return os.stat(file.name).st_mtime
    except OSError:
        return time.time()
