"""Folds side by side: what runs when, what is told, and that nothing outlives its parent."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from semeval_kit.errors import BusyError, KitError
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.training import fanout
from semeval_kit.training.fanout import _Display, launch_command, run_folds
from semeval_kit.training.machine import Slots

Event = dict[str, Any]

# Stands for a worker: says what it is told to, notes when it began and ended, needs no torch.
FAKE = """
import json, os, sys, time
job, run, fold, *rest = sys.argv[1:]
folder = os.path.join(run, f"fold-{fold}")
plan = json.load(open(os.path.join(run, "plan.json"))).get(f"{job} {fold}", {})
note = {"job": job, "fold": int(fold), "rest": rest, "began": time.time(), "pid": os.getpid()}
note["threads"] = os.environ["OMP_NUM_THREADS"]
note["device"] = os.environ.get("CUDA_VISIBLE_DEVICES")
note["alone"] = os.environ.get("NCCL_P2P_DISABLE"), os.environ.get("NCCL_IB_DISABLE")
print("a line that is no event", flush=True)
for event in plan.get("events", []):
    print(json.dumps({"fold": int(fold), **event}), flush=True)
print(json.dumps({"event": "note", "text": f"pid {os.getpid()}"}), flush=True)
time.sleep(plan.get("seconds", 0.3))
print(plan.get("last words", ""), file=sys.stderr, flush=True)
note["ended"] = time.time()
with open(os.path.join(folder, job + ".note"), "w") as file:
    json.dump(note, file)
sys.exit(plan.get("code", 0))
"""


@pytest.fixture
def run(make_plan: Callable[..., Any], tmp_path: Path) -> Run:
    return stages.prepare(tmp_path / "run", make_plan(("eng",), folds=4), lambda _: None)


@pytest.fixture
def plan_workers(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Event]], None]:
    """Let fake workers behave as planned: "train 0" -> events, seconds, last words, code."""
    script = run.path.parent / "fake.py"
    script.write_text(FAKE, encoding="utf-8")
    monkeypatch.setattr(
        fanout, "launch_command", lambda arguments, _: [sys.executable, str(script), *arguments]
    )

    def plan(content: dict[str, Event]) -> None:
        (run.path / "plan.json").write_text(json.dumps(content), encoding="utf-8")

    plan({})
    return plan


def notes(run: Run) -> dict[tuple[str, int], Event]:
    found = [json.loads(p.read_text(encoding="utf-8")) for p in run.path.glob("fold-*/*.note")]
    return {(note["job"], note["fold"]): note for note in found}


def overlap(a: Event, b: Event) -> bool:
    return bool(a["began"] < b["ended"] and b["began"] < a["ended"])


@pytest.mark.usefixtures("plan_workers")
def test_as_many_folds_run_at_a_time_as_there_are_slots(run: Run) -> None:
    run_folds(run, Slots(2, (3,) * 4), train=range(4), say=lambda _: None)
    found = notes(run)
    assert len(found) == 4
    assert {note["threads"] for note in found.values()} == {"3"}
    moments = [note["began"] for note in found.values()]
    at_once = [sum(n["began"] <= m < n["ended"] for n in found.values()) for m in moments]
    assert max(at_once) == 2
    assert not list(run.path.glob("fold-*/worker.log"))


def test_a_fold_is_predicted_with_when_it_is_trained_and_a_slot_is_free(
    run: Run, plan_workers: Callable[..., None]
) -> None:
    plan_workers({"train 1": {"seconds": 1.5}})
    run_folds(
        run, Slots(2, (1,) * 4), train=[0, 1], predict=[0, 1], splits=["dev", "test"], say=print
    )
    found = notes(run)
    assert overlap(found["predict", 0], found["train", 1])
    for fold in (0, 1):
        assert found["train", fold]["ended"] <= found["predict", fold]["began"]
        assert found["predict", fold]["rest"] == ["--split", "dev", "--split", "test"]
        assert found["train", fold]["rest"] == []


@pytest.mark.usefixtures("plan_workers")
def test_each_slot_has_its_device(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937,MIG-5c89e3f2")
    run_folds(run, Slots(2, (1,) * 4, ((0,), (1,))), train=[0, 1], say=print)
    found = notes(run)
    devices = {found["train", fold]["device"] for fold in (0, 1)}
    assert devices == {"GPU-8932f937", "MIG-5c89e3f2"}
    # Without these accelerate refuses several RTX 40 with an older driver.
    assert found["train", 0]["alone"] == ["1", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    run_folds(run, Slots(1, (1,) * 4, ((0, 1),), 2), train=[2], say=print)
    assert notes(run)["train", 2]["device"] == "4,6"
    assert notes(run)["train", 2]["alone"] == [None, None]  # its launcher sets them where it must


@pytest.mark.usefixtures("plan_workers")
def test_each_fold_has_its_threads_whichever_slot_it_has(run: Run) -> None:
    run_folds(run, Slots(2, (1, 1, 1, 2)), train=[3, 0], predict=[3], say=print)
    threads = {key: note["threads"] for key, note in notes(run).items()}
    assert threads == {("train", 3): "2", ("train", 0): "1", ("predict", 3): "2"}


def test_a_fold_that_fails_is_reported_and_the_others_finish(
    run: Run, plan_workers: Callable[..., None]
) -> None:
    told = {"event": "error", "text": "the loss is nan on the rows e7"}
    plan_workers(
        {
            "train 0": {"code": 3, "last words": "Traceback: out of memory", "seconds": 0},
            "train 1": {"code": 1, "events": [told], "last words": "not this", "seconds": 0},
        }
    )
    with pytest.raises(KitError) as error:
        run_folds(
            run, Slots(2, (1,) * 4), train=range(4), predict=range(4), splits=["test"], say=print
        )
    text = error.value.message
    assert "fold 0 failed (exit code 3; its log: " in text
    assert "Traceback: out of memory" in text
    assert "the loss is nan on the rows e7" in text
    assert "not this" not in text
    assert "run the same command again" in text
    assert set(notes(run)) == {(j, f) for j in ("train", "predict") for f in range(4)} - {
        ("predict", 0),
        ("predict", 1),
    }
    assert [run.log_file(fold).is_file() for fold in range(4)] == [True, True, False, False]
    assert "a line that is no event" in run.log_file(0).read_text(encoding="utf-8")


def test_the_same_failure_is_told_once(run: Run, plan_workers: Callable[..., None]) -> None:
    told = {"event": "error", "text": "encoder 'x' cannot be loaded"}
    plan_workers({f"train {fold}": {"code": 1, "events": [told]} for fold in range(3)})
    with pytest.raises(KitError) as error:
        run_folds(run, Slots(3, (1,) * 4), train=range(3), say=print)
    assert error.value.message.count("cannot be loaded") == 1
    for fold in range(3):
        assert f"fold {fold} failed (exit code 1" in error.value.message


def test_folds_that_are_all_busy_may_be_waited_for(
    run: Run, plan_workers: Callable[..., None]
) -> None:
    busy = {"code": BusyError.exit_code, "seconds": 0}
    for plan, kind in (({}, BusyError), ({"train 2": {"code": 1}}, KitError)):
        plan_workers({"train 0": busy, "train 1": busy, **plan})
        with pytest.raises(KitError, match="exit code 75") as error:
            run_folds(run, Slots(3, (1,) * 4), train=range(3), say=print)
        assert type(error.value) is kind


def test_a_fold_that_is_killed_is_a_failure(run: Run, plan_workers: Callable[..., None]) -> None:
    plan_workers({"train 0": {"seconds": 60}})

    def kill(event: Event) -> None:
        os.kill(int(event["text"].split()[1]), signal.SIGKILL)

    with pytest.raises(KitError, match="fold 0 failed .exit code -9"):
        run_folds(run, Slots(1, (1,) * 4), train=[0], say=print, on_event=kill)


def test_epochs_and_notes_are_told(run: Run, plan_workers: Callable[..., None]) -> None:
    epoch = {
        "event": "epoch",
        "epoch": 2,
        "train_loss": 0.5,
        "val_loss": 0.6,
        "macro_f1": 0.7,
        "rows_per_second": 99.9,
        "seconds": 12.4,
    }
    events = [{"event": "resumed", "epoch": 1}, {"event": "step", "loss": 1}, epoch]
    plan_workers({"train 2": {"events": events}})
    said: list[str] = []
    seen: list[Event] = []
    run_folds(run, Slots(1, (1,) * 4), train=[2], say=said.append, on_event=seen.append)
    assert said[:2] == [
        "fold 2: goes on after epoch 1",
        "fold 2 epoch 2: loss 0.5000, validation loss 0.6000, macro-F1 at 0.5 0.7000, "
        "100 rows/s, 12 s",
    ]
    assert [event["event"] for event in seen] == ["resumed", "step", "epoch", "note"]


def interrupt(run: Run, act: Callable[[], None]) -> list[int]:
    """Start two long folds and act when both are there; give their process ids."""
    pids: list[int] = []

    def note(event: Event) -> None:
        pids.append(int(event["text"].split()[1]))
        if len(pids) == 2:
            act()

    run_folds(run, Slots(2, (1,) * 4), train=[0, 1], say=print, on_event=note)
    return pids


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_stops_every_process(
    number: int, raised: type[BaseException], run: Run, plan_workers: Callable[..., None]
) -> None:
    plan_workers({"train 0": {"seconds": 60}, "train 1": {"seconds": 60}})
    before = signal.getsignal(signal.SIGTERM)
    # A shell that starts the tests in the background has them ignore SIGINT.
    interrupts = signal.signal(signal.SIGINT, signal.default_int_handler)
    pids: list[int] = []

    def act() -> None:
        pids.extend(child.pid for child in psutil.Process().children())
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()

    started = time.monotonic()
    try:
        with pytest.raises(raised):
            interrupt(run, act)
    finally:
        signal.signal(signal.SIGINT, interrupts)
    assert time.monotonic() - started < 10
    assert len(pids) >= 2
    assert all(gone(pid) for pid in pids)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_process_that_ignores_the_signal_is_killed(
    run: Run, plan_workers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "_GRACE_SECONDS", 0.5)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + FAKE
    (run.path.parent / "fake.py").write_text(stubborn, encoding="utf-8")
    plan_workers({"train 0": {"seconds": 60}, "train 1": {"seconds": 60}})
    pids: list[int] = []

    def act() -> None:
        pids.extend(child.pid for child in psutil.Process().children())
        raise RuntimeError("the parent has a fault")

    with pytest.raises(RuntimeError):
        interrupt(run, act)
    assert all(gone(pid) for pid in pids)


def test_one_process_needs_no_launcher_and_no_config() -> None:
    command = launch_command(["train", "run", "0"], 1)
    assert command == [sys.executable, "-m", "semeval_kit.training.worker", "train", "run", "0"]


def test_several_processes_are_started_by_accelerate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A person's config is honoured where it is for several machines; else the kit decides."""
    from accelerate.commands.config import config_args

    config = tmp_path / "default_config.yaml"
    monkeypatch.setattr(config_args, "default_config_file", str(config))
    monkeypatch.setattr(fanout, "find_device_type", lambda: "cuda")
    alone = launch_command(["train", "run", "0"], 2)
    assert alone[1:4] == ["-m", "accelerate.commands.launch", "--quiet"]
    assert {"--num_processes=2", "--gpu_ids=all", "--num_machines=1"} <= set(alone)
    assert alone[-5:] == ["-m", "semeval_kit.training.worker", "train", "run", "0"]
    written = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU"}
    written |= {"num_processes": 8, "gpu_ids": "3", "mixed_precision": "no", "use_cpu": False}
    config.write_text(json.dumps({**written, "num_machines": 1}), encoding="utf-8")
    assert launch_command(["train", "run", "0"], 2) == alone
    config.write_text(json.dumps({**written, "num_machines": 2}), encoding="utf-8")
    several = launch_command(["train", "run", "0"], 2)
    assert "--num_processes=2" in several
    assert not any(word.startswith("--num_machines") for word in several)


def test_several_processes_on_a_cpu_are_started_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "find_device_type", lambda: "cpu")
    command = launch_command(["train", "run", "0"], 2)
    assert command[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def test_predicting_needs_no_launcher() -> None:
    command = launch_command(["predict", "run", "0"], 2)
    assert command == [sys.executable, "-m", "semeval_kit.training.worker", "predict", "run", "0"]


@pytest.mark.slow
def test_two_processes_give_every_row_once(make_plan: Callable[..., Any], tmp_path: Path) -> None:
    plan = make_plan(("eng",), holdout=0.5, batch_size=3, eval_batch_size=4, epochs=2)
    run = stages.prepare(tmp_path / "run", plan, lambda _: None)
    said: list[str] = []
    run_folds(run, Slots(1, (1,), (), 2), train=[0], say=said.append)
    with run.oof_file(0).open(encoding="utf-8", newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert ids == [id_ for (_, id_), fold in run.read_folds().items() if fold == 0]
    assert 14 <= len(ids) <= 18
    done, history = run.read_done(0), run.read_history(0)
    assert done["processes"] == 2
    assert (done["n_train"], done["n_valid"]) == (32 - len(ids), len(ids))
    assert [row["epoch"] for row in history] == [1, 2]
    assert history[-1]["lr"] == 0.0
    assert sum(line.startswith("fold 0 epoch") for line in said) == 2
    oof = run.read_oof()
    assert ((oof.values > 0) & (oof.values < 1)).all()


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
    return SimpleNamespace(fold=2, name="fold 2", slot=0, error="", bar=None)


def make(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> tuple[_Display, io.StringIO, Any]:
    stream = io.StringIO()
    stream.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(fanout.sys, "stderr", stream)
    said: list[str] = []
    return _Display(said.append), stream, said


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
    assert job.bar is None
    assert said == []


def test_elsewhere_there_is_a_line_per_epoch(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, stream, said = make(monkeypatch, terminal=False)
    for event in (
        STEP,
        EPOCH,
        {"event": "resumed", "epoch": 4, "step": 0},
        {"event": "resumed", "epoch": 4, "step": 30},
        {"event": "note", "text": "falls back"},
        {"event": "rows", "split": "test", "done": 64, "rows": 200},
        {"event": "done", "fold": 2},
    ):
        shown.show(job, event)
    shown.close(job)
    assert said == [
        LINE,
        "fold 2: goes on after epoch 4",
        "fold 2: goes on after epoch 4 and 30 steps",
        "fold 2: falls back",
    ]
    assert stream.getvalue() == ""


def test_an_error_is_kept_for_the_end(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _, said = make(monkeypatch, terminal=False)
    shown.show(job, {"event": "error", "text": "the loss is nan"})
    assert (job.error, said) == ("the loss is nan", [])
