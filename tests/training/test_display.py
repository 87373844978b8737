"""Progress: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from semeval_kit.training import display
from semeval_kit.training.display import Display

STEP = {"event": "step", "epoch": 1, "step": 3, "steps": 10, "loss": 0.51234, "rows_per_second": 80}
EPOCH = {
    "event": "epoch",
    "epoch": 1,
    "train_loss": 0.5,
    "val_loss": 0.4,
    "macro_f1": 0.25,
    "rows_per_second": 80.0,
    "seconds": 3.2,
}
LINE = "fold 2 epoch 1: loss 0.5000, validation loss 0.4000, macro-F1 at 0.5 0.2500, 80 rows/s, 3 s"


@pytest.fixture
def job() -> Any:
    return SimpleNamespace(fold=2, slot=0, error="", bar=None)


def make(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> tuple[Display, io.StringIO, Any]:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(display.sys, "stderr", stream)
    said: list[str] = []
    return Display(said.append), stream, said


def test_a_terminal_shows_loss_rate_and_time_left(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, stream, said = make(monkeypatch, terminal=True)
    shown.show(job, STEP)
    text = stream.getvalue()
    assert "fold 2 epoch 1" in text
    assert "3/10" in text
    assert "loss 0.5123, 80 rows/s" in text
    shown.show(job, EPOCH)
    assert LINE in stream.getvalue()
    first = job.bar
    shown.show(job, {**STEP, "epoch": 2, "step": 1})
    assert job.bar is not first
    shown.show(job, {"event": "rows", "split": "test", "done": 64, "rows": 200})
    assert "fold 2 test" in stream.getvalue()
    assert "64/200" in stream.getvalue()
    shown.close(job)
    shown.end()
    assert job.bar is None
    assert said == []


def test_elsewhere_there_is_a_line_per_epoch(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, stream, said = make(monkeypatch, terminal=False)
    for event in (
        STEP,
        EPOCH,
        {"event": "resumed", "epoch": 4},
        {"event": "note", "text": "falls back"},
        {"event": "rows", "split": "test", "done": 64, "rows": 200},
        {"event": "done", "fold": 2},
    ):
        shown.show(job, event)
    shown.close(job)
    assert said == [LINE, "fold 2: goes on after epoch 4", "fold 2: falls back"]
    assert stream.getvalue() == ""


def test_an_error_is_kept_for_the_end(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _, said = make(monkeypatch, terminal=False)
    shown.show(job, {"event": "error", "text": "the loss is nan"})
    assert (job.error, said) == ("the loss is nan", [])
