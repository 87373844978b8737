"""How far the folds are: a bar per fold on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from tqdm import tqdm

Event = dict[str, Any]


class Shown(Protocol):
    """What is shown of a fold's process."""

    fold: int
    slot: int
    error: str
    bar: Any


class Display:
    """A bar per fold on a terminal, a line per epoch elsewhere."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.bars = sys.stderr.isatty()

    def show(self, job: Shown, event: Event) -> None:
        """Show what a worker told."""
        kind = event["event"]
        if kind == "error":
            job.error = event["text"]
        elif kind in ("note", "resumed"):
            text = event.get("text") or f"goes on after epoch {event['epoch']}"
            self._line(f"fold {job.fold}: {text}")
        elif kind == "epoch":
            self._line(_describe_epoch(job.fold, event))
        elif self.bars and kind == "step":
            bar = self._bar(job, event["steps"], "step", f"fold {job.fold} epoch {event['epoch']}")
            bar.n = event["step"]
            speed = f"{event['rows_per_second']:.0f} rows/s"
            bar.set_postfix_str(f"loss {event['loss']:.4f}, {speed}", refresh=True)
        elif self.bars and kind == "rows":
            bar = self._bar(job, event["rows"], "row", f"fold {job.fold} {event['split']}")
            bar.n = event["done"]
            bar.refresh()

    def close(self, job: Shown) -> None:
        """Take the bar of a job away."""
        if job.bar is not None:
            job.bar.close()
            job.bar = None

    def end(self) -> None:
        """Leave the terminal tidy."""
        sys.stderr.flush()

    def _bar(self, job: Shown, total: int, unit: str, title: str) -> Any:
        if job.bar is not None and job.bar.desc.rstrip(": ") != title:
            self.close(job)
        if job.bar is None:
            job.bar = tqdm(
                total=total,
                desc=title,
                unit=unit,
                position=job.slot,
                leave=False,
                file=sys.stderr,
                dynamic_ncols=True,
            )
        return job.bar

    def _line(self, text: str) -> None:
        if self.bars:
            tqdm.write(text, file=sys.stderr)
        else:
            self.say(text)


def _describe_epoch(fold: int, row: Event) -> str:
    return (
        f"fold {fold} epoch {row['epoch']}: loss {row['train_loss']:.4f}, "
        f"validation loss {row['val_loss']:.4f}, macro-F1 at 0.5 {row['macro_f1']:.4f}, "
        f"{row['rows_per_second']:.0f} rows/s, {row['seconds']:.0f} s"
    )
