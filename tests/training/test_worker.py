"""What the process of a fold does besides its work: lock, events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from semeval_kit.cli import main
from semeval_kit.errors import BusyError, KitError
from semeval_kit.run.directory import Run
from semeval_kit.training import worker

EPOCH = {"event": "epoch", "fold": 1, "epoch": 2, "val_loss": 0.5, "macro_f1": 0.25, "kept": "yes"}


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


class FakeTracker:
    """Notes what it is told, as accelerate's trackers do."""

    made: list[FakeTracker] = []
    name = "trackio"
    fails = False

    def __init__(self, project: str, **options: Any) -> None:
        self.project, self.options = project, options
        self.logged: list[tuple[dict[str, float], int]] = []
        self.settings: dict[str, Any] = {}
        self.finished = False

    def start(self) -> None:
        self.made.append(self)

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, float], step: int) -> None:
        if self.fails:
            raise ConnectionError("no network")
        self.logged.append((values, step))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeTracker]:
    import accelerate.tracking

    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "trackio", FakeTracker)
    monkeypatch.setitem(worker._PACKAGES, "trackio", ("accelerate",))
    monkeypatch.setenv(worker.REPORT_TO, "trackio")
    monkeypatch.setattr(FakeTracker, "made", [])
    return FakeTracker


def test_every_epoch_is_told_to_one_run_per_fold_in_one_group(fake, trained_run: Path):
    run, told = Run.open(trained_run), []
    with worker.tracking(run, 1, told.append) as tell:
        tell({"event": "step", "fold": 1, "loss": 0.1})
        tell(EPOCH)
    (tracker,) = fake.made
    assert told == [{"event": "step", "fold": 1, "loss": 0.1}, EPOCH]
    assert tracker.logged == [({"val_loss": 0.5, "macro_f1": 0.25}, 2)]
    assert tracker.project == run.task.name
    assert (tracker.options["name"], tracker.options["group"]) == (f"{run.name}-fold-1", run.name)
    assert tracker.settings["epochs"] == run.recipe["epochs"]
    assert tracker.finished


def test_a_tracker_that_fails_later_is_left_out_and_that_is_said(
    fake, trained_run: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fake, "fails", True)
    told: list[dict[str, Any]] = []
    with worker.tracking(Run.open(trained_run), 0, told.append) as tell:
        tell(EPOCH)
        tell(EPOCH)
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert notes == ["trackio is left out from here on: no network"]


def test_without_trackers_nothing_is_begun(trained_run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(worker.REPORT_TO, raising=False)
    told: list[dict[str, Any]] = []
    with worker.tracking(Run.open(trained_run), 0, told.append) as tell:
        tell(EPOCH)
    assert told == [EPOCH]


def test_a_missing_tracker_is_an_error_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(worker._PACKAGES, "wandb", ("no_such_package",))
    monkeypatch.setenv(worker.REPORT_TO, "")
    flags = ("--submissions", tmp_path / "runs", "--report-to")
    for name, message in (
        ("wandb", "--report-to wandb: not installed. Install it: pip install wandb"),
        ("paper", "--report-to paper: unknown. Choose from wandb, tensorboard, trackio, mlflow"),
    ):
        done = CliRunner().invoke(main, ["demo", *map(str, flags), name])
        assert done.exit_code == 1
        assert message in done.output
    assert not (tmp_path / "runs").exists()
    with pytest.raises(KitError, match="wandb: not installed"):
        worker.read_trackers("wandb")
