"""Leaving when told to: at once, or after the step that is being done.

A scheduler sends a signal some time before it kills. While a fold's steps are taken the signal is
only noted, so that what it has learnt is written between two of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = "SEMEVAL_KIT_GRACE_SECONDS"
LEAVING_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


class _Told:
    """What this process was told, and whether it is in the middle of a step."""

    number = 0
    is_deferred = False


def leave_when_told() -> None:
    """Let this process leave by an exception on the signals that ask for it."""
    for number in LEAVING_SIGNALS:
        signal.signal(number, _leave)


@contextmanager
def finish_step_first() -> Iterator[Callable[[], bool]]:
    """Only note a signal inside, and leave at the end; gives what tells whether one came."""
    _Told.is_deferred = True
    try:
        yield lambda: bool(_Told.number)
    finally:
        _Told.is_deferred = False
    number, _Told.number = _Told.number, 0
    if number:
        raise SystemExit(128 + number)


def grace_seconds(default: float) -> float:
    """How long a process that was told to leave may take: as a scheduler allows, or `default`."""
    return float(os.environ.get(GRACE, default))


def _leave(number: int, frame: FrameType | None) -> None:
    if _Told.is_deferred:
        _Told.number = number
        return
    raise SystemExit(128 + number)
