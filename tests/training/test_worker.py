"""What the process of a fold does besides its work: lock, events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semeval_kit.errors import BusyError
from semeval_kit.run.directory import Run
from semeval_kit.training import worker


def test_two_processes_do_not_share_a_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    monkeypatch.setattr(worker, "_LOCK_SECONDS", 0)
    monkeypatch.setattr(Run, "n_folds", 1)
    with (
        worker.lock_fold(run, 0),
        pytest.raises(BusyError, match="another process is at work"),
        worker.lock_fold(run, 0),
    ):
        pass


def test_events_are_lines_of_json_from_the_first_process_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emit = worker.Emitter(3)
    for step in range(50):
        emit({"event": "step", "step": step})
    emit({"event": "epoch", "epoch": 1})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"fold": 3, "event": "step", "step": 0}
    assert lines[-1] == {"fold": 3, "event": "epoch", "epoch": 1}
    assert len(lines) < 50  # at most two steps a second
    monkeypatch.setenv("RANK", "1")
    emit({"event": "epoch", "epoch": 2})
    assert capsys.readouterr().out == ""
