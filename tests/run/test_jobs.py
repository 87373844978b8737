"""Jobs of a run, who is at work on it, and carrying it elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.cli.engines import _read_minutes
from semeval_kit.errors import BusyError, KitError
from semeval_kit.files import hold_lock, write_kept
from semeval_kit.run import jobs, lease, slurm, stages
from semeval_kit.run.directory import Run
from semeval_kit.run.jobs import pack_run, unpack_run
from semeval_kit.run.stages import Engine, Plan


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def prepared(make_plan: Callable[..., Plan], tmp_path: Path) -> Run:
    """A run of two folds in English that is not trained."""
    return stages.prepare(tmp_path / "run", make_plan(("eng",), epochs=1), lambda _: None)


def test_jobs_are_what_is_not_done(prepared: Run) -> None:
    listed = jobs.list_jobs(prepared, Engine(threads=3))
    assert [job.name for job in listed] == ["fold-0", "fold-1", "finish"]
    assert listed[2].after == ("fold-0", "fold-1")
    assert listed[0].spell() == (
        f"semeval-kit train {prepared.path} --fold 0 --jobs 1 --processes 1 --threads 3"
    )
    write_kept(prepared.done_file(0), "{}")
    assert [job.name for job in jobs.list_jobs(prepared, Engine())] == ["fold-1", "finish"]


def test_commands_are_printed_and_do_the_run(
    tiny_data: Path, tiny_bert: Path, tmp_path: Path, in_process: list[dict[str, Any]]
) -> None:
    plan = ["--task", "semeval2025-task11-a", "--data", tiny_data, "--langs", "eng"]
    plan += ["--model", tiny_bert, "--submissions", tmp_path, "--run", "a name", "--folds", "2"]
    plan += ["--precision", "fp32"]
    result = call("run", *plan, "--epochs", "1", "--engine", "commands", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert in_process == []
    lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    assert len(lines) == 3
    import shlex

    for line in lines:
        for command in line.split(" && "):
            words = shlex.split(command)
            assert words[0] == "semeval-kit"
            assert call(*words[1:]).exit_code == 0, command
    assert (tmp_path / "a name" / "a name.zip").is_file()


@pytest.mark.slow
def test_jobs_that_are_handed_out_end_in_the_same_bytes(
    prepared: Run, make_plan: Callable[..., Plan], tmp_path: Path, in_process: list[Any]
) -> None:
    pytest.importorskip("submitit", reason="the extra [cluster] is not installed")
    plan = make_plan(("eng",), epochs=1)
    here = stages.run_all(tmp_path / "here", plan, Engine(1, 1), None, lambda _: None)
    said: list[str] = []
    listed = jobs.list_jobs(prepared, Engine(threads=1))
    slurm.submit_jobs(prepared.path, listed, slurm.Cluster(), said.append, kind="local")
    assert [line.split(":")[0] for line in said] == ["fold-0", "fold-1"]
    give_up = time.monotonic() + 300
    while not all(prepared.is_done(fold) for fold in (0, 1)) and time.monotonic() < give_up:
        time.sleep(0.5)
    for fold in (0, 1):
        assert prepared.oof_file(fold).read_bytes() == here.oof_file(fold).read_bytes()


@pytest.mark.slow
def test_of_two_copies_of_a_job_one_trains_and_the_other_waits(
    prepared: Run, make_plan: Callable[..., Plan], tmp_path: Path, in_process: list[Any]
) -> None:
    """As when a node that was cut off still works on what was queued again elsewhere."""
    pytest.importorskip("submitit", reason="the extra [cluster] is not installed")
    here = stages.prepare(tmp_path / "here", make_plan(("eng",), epochs=1), lambda _: None)
    stages.train(here, Engine(1, 1, folds=(0,)), lambda _: None)
    one = jobs.list_jobs(prepared, Engine(threads=1))[:1]
    ids = []

    def list_workers() -> list[psutil.Process]:
        children = psutil.Process().children(recursive=True)
        return [child for child in children if str(prepared.path) in read_words(child)]

    def read_words(process: psutil.Process) -> list[str]:
        try:
            words = process.cmdline()
        except psutil.Error:
            return []
        return words if "semeval_kit.training.worker" in words else []

    give_up = time.monotonic() + 300
    prepared.fold_dir(0).mkdir()
    with hold_lock(prepared.fold_dir(0)):  # a third one, until both have decided to train
        for _ in range(2):
            asked = slurm.Cluster()
            ids += slurm.submit_jobs(
                prepared.path, one, asked, lambda _: None, kind="local"
            ).values()
        while len(list_workers()) < 2 and time.monotonic() < give_up:
            time.sleep(0.1)
    assert len(set(ids)) == 2
    while time.monotonic() < give_up and not all(
        slurm.has_completed(prepared.path, id_) for id_ in ids
    ):
        time.sleep(0.2)
    logs = [next((prepared.path / "cluster" / id_).glob("*_log.err")).read_text() for id_ in ids]
    assert sorted("fold 0 epoch 1: " in log for log in logs) == [False, True]
    waited = next(log for log in logs if "fold 0 epoch 1: " not in log)
    assert "fold 0: another process has finished it" in waited
    assert all(slurm.has_completed(prepared.path, id_) for id_ in ids)
    assert prepared.oof_file(0).read_bytes() == here.oof_file(0).read_bytes()
    assert not prepared.state_file(0).exists()


def test_a_job_whose_fold_is_busy_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [BusyError.exit_code] * 4 + [1, BusyError.exit_code, 1, 0]
    slept: list[float] = []
    monkeypatch.setattr(slurm.Call, "_do", lambda *_: codes.pop(0))
    monkeypatch.setattr(slurm.time, "sleep", slept.append)
    slurm.Call((("train",),))()
    assert (codes, len(slept)) == ([], 5)
    codes += [1, 1, 1, 0]
    with pytest.raises(KitError, match="`train` failed 3 times"):
        slurm.Call((("train",),))()


def test_a_job_that_comes_back_from_being_cancelled_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a real Slurm does with one that asks to be queued again at that moment."""
    seen = [["RUNNING", "PENDING"], ["COMPLETING"], ["COMPLETING"], ["PENDING"], []]
    calls: list[tuple[str, ...]] = []

    def read_queue(_: Path) -> dict[str, slurm.Queued]:
        states = enumerate(seen.pop(0))
        return {f"fold-{n}": slurm.Queued(f"7_{n}", state, "", "") for n, state in states}

    monkeypatch.setattr(slurm, "read_queue", read_queue)
    monkeypatch.setattr(slurm, "_call", lambda *words: calls.append(words))
    monkeypatch.setattr(slurm, "_CANCEL_LOOK_SECONDS", 0.0)
    assert slurm.cancel_jobs(tmp_path) == ["7_0", "7_1"]
    assert calls == [("scancel", "7_0", "7_1"), ("scancel", "7_0")]
    assert seen == []


@pytest.mark.parametrize(
    ("told", "is_back"),
    [
        ("RUNNING|None\n", True),
        ("COMPLETING|TimeLimit\n", True),
        (KitError("squeue: no answer"), True),
        ("COMPLETING|None\n", False),
    ],
)
def test_a_job_that_is_cancelled_while_it_leaves_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch, told: str | KitError, is_back: bool
) -> None:
    """As a real Slurm answers; it queues a cancelled job again if it is asked to."""
    pytest.importorskip("submitit", reason="the extra [cluster] is not installed")
    asked: list[str] = []

    def answer(*words: str) -> str:
        asked.extend(words)
        if isinstance(told, KitError):
            raise told
        return told

    monkeypatch.setattr(slurm, "_call", answer)
    monkeypatch.setattr(slurm.signal, "signal", lambda *_: None)
    for name, value in (("JOB_ID", "9"), ("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    if is_back:
        assert slurm.Call((("train",),)).checkpoint().function.commands == (("train",),)
    else:
        with pytest.raises(KitError, match="cancelled while it was leaving"):
            slurm.Call((("train",),)).checkpoint()
    assert "--jobs=7_1" in asked


def test_a_job_that_is_told_to_leave_before_it_has_written_anything_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with a time limit that is shorter than the way to the first checkpoint."""
    pytest.importorskip("submitit", reason="the extra [cluster] is not installed")
    monkeypatch.setattr(slurm.signal, "signal", lambda *_: None)
    place = tmp_path / "fold-0"
    place.mkdir()

    def begin(call: slurm.Call, *written: str) -> slurm.Call:
        """Start a job and tell it to leave; gives the one that is queued in its place."""
        monkeypatch.setattr(slurm.Call, "_do", lambda *_: 0)
        call()
        for name in written:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text("x")
        return call.checkpoint().function

    call = slurm.Call((("train",),), (place, tmp_path / "run.zip"))
    for attempt in range(4):
        call = begin(call, "state.json", "worker.log", ".lock")  # these say nothing
        assert call.n_idle == attempt + 1
    call = begin(call, "checkpoint/state.json")
    assert call.n_idle == 0
    for _ in range(4):
        call = begin(call)
    with pytest.raises(KitError, match=r"told to end 5 times .* longer --time"):
        begin(call)


@pytest.mark.slow
def test_copies_of_a_command_are_handed_out(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the extra [cluster] is not installed")
    said: list[str] = []
    copies = [jobs.Job(f"process-{number}", (("recipes",),)) for number in range(2)]
    ids = slurm.submit_jobs(tmp_path, copies, slurm.Cluster(), said.append, kind="local")
    assert said == [f"{name}: job {id_}" for name, id_ in ids.items()]
    assert slurm.read_submitted(tmp_path) == ids
    assert list(ids) == ["process-0", "process-1"]
    give_up, logs = time.monotonic() + 120, tmp_path / "cluster"
    while len(list(logs.rglob("*_result.pkl"))) < 2 and time.monotonic() < give_up:
        time.sleep(0.2)
    spoken = [path.read_text() for path in logs.rglob("*_log.out")]
    assert len(spoken) == 2
    assert all("\nbert-report\ndefault\n" in text for text in spoken)


def test_a_lease_says_who_is_at_work(prepared: Run) -> None:
    prepared.fold_dir(0).mkdir()
    with lease.hold_lease(prepared.state_file(0)) as held:
        held.note({"event": "step", "epoch": 1, "step": 3, "steps": 4, "rows_per_second": 9.5})
        state = lease.read_lease(prepared.state_file(0))
        assert (state["state"], state["pid"]) == ("running", os.getpid())
        shown = call("status", prepared.path).stdout
        assert shown == (
            f"fold 0: running, on {socket.gethostname()}, epoch 1, 75% of its steps, 10 rows/s, "
            "0 s left\n"
            "fold 1: waiting\n"
        )
        old = time.time() - 1000
        os.utime(prepared.state_file(0), (old, old))
        assert lease.read_lease(prepared.state_file(0))["state"] == "lost"
    assert not prepared.state_file(0).exists()
    with pytest.raises(KitError), lease.hold_lease(prepared.state_file(0)):
        raise KitError("no memory is left.\nReally.")
    assert (
        call("status", prepared.path).stdout.splitlines()[0] == "fold 0: failed, no memory is left."
    )
    assert json.loads(call("status", prepared.path, "--json").stdout)[0]["why"].startswith("no mem")


def test_a_lease_of_another_machine_is_honoured_until_it_is_stale(
    prepared: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepared.state_file(0)
    path.parent.mkdir()
    path.write_text('{"state": "running", "host": "node-7", "pid": 12}', encoding="utf-8")
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.1)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.05):
            os.utime(path)

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    with (
        pytest.raises(BusyError, match="process 12 of node-7 is at work here"),
        lease.hold_lease(prepared.state_file(0)),
    ):
        pass
    assert "stop it there" in call("stop", prepared.path).output
    ended.set()
    beating.join()  # or it might beat once more
    monkeypatch.setattr(lease, "_STALE_SECONDS", 0.5)
    with lease.hold_lease(prepared.state_file(0)):  # which waits for half a second
        assert lease.read_lease(prepared.state_file(0))["pid"] == os.getpid()
    path.write_text('{"state": "running", "host": "node-7", "pid": 12}', encoding="utf-8")
    old = time.time() - 1000
    os.utime(path, (old, old))
    with lease.hold_lease(prepared.state_file(0)):
        pass
    assert not path.exists()
    path.write_text(json.dumps({"state": "running", "host": socket.gethostname(), "pid": 2**22}))
    assert lease.read_lease(prepared.state_file(0))["state"] == "lost"
    for damaged in ("", "[", "[]", "\0"):
        path.write_text(damaged, encoding="utf-8")
        assert lease.read_lease(prepared.state_file(0)) == {}


def test_stop_stops_this_runs_worker_and_nothing_else(prepared: Run) -> None:
    sleep = "import time; time.sleep(60)"
    words = ["semeval_kit.training.worker", "train", str(prepared.path)]
    processes = [
        subprocess.Popen([sys.executable, "-c", sleep, *words, "0"]),
        subprocess.Popen([sys.executable, "-c", sleep, *words[:2], "elsewhere", "1"]),
    ]
    for fold, process in enumerate(processes):
        path = prepared.state_file(fold)
        path.parent.mkdir()
        state = {"state": "running", "host": socket.gethostname(), "pid": process.pid}
        path.write_text(json.dumps(state), encoding="utf-8")
    assert "fold 0: process" in call("stop", prepared.path).stderr
    assert processes[0].wait(timeout=10) == -15
    assert processes[1].poll() is None
    processes[1].kill()
    processes[1].wait()
    assert "nothing is at work here" in call("stop", prepared.path).stderr


def test_a_run_is_carried_in_a_zip(trained_run: Path, tmp_path: Path) -> None:
    whole = call("pack-run", trained_run, "--to", tmp_path / "whole.zip")
    assert whole.stdout == f"{tmp_path / 'whole.zip'}\n"
    assert call("pack-run", trained_run, "--to", tmp_path / "whole.zip").exit_code == 1
    result = call("unpack-run", tmp_path / "whole.zip", "--to", tmp_path / "there")
    assert result.stdout == f"{tmp_path / 'there' / 'tiny'}\n"
    assert digests(tmp_path / "there" / "tiny") == digests(trained_run)
    again = call("unpack-run", tmp_path / "whole.zip", "--to", tmp_path / "there")
    assert "tiny: exists. Move it away" in again.output
    light = pack_run(Run.open(trained_run), tmp_path / "light.zip", weights=False)
    run = unpack_run(light, tmp_path / "light")
    assert not run.model_dir(0).exists()
    assert call("tune", run.path).exit_code == 0
    assert run.thresholds_file.read_bytes() == (trained_run / "thresholds.json").read_bytes()
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("name", ["../x", "/abs", "a/../../x", "a\\b/c", "no-folder"])
def test_a_zip_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(KitError, match=r"leads elsewhere|is no zip of a run"):
        unpack_run(tmp_path / "bad.zip", tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_carried_file_that_changed_is_named(trained_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained_run, tmp_path / "tiny"))
    with (copy / "fold-1" / "oof.csv").open("a", encoding="utf-8") as file:
        file.write("x,eng,1\n")
    pack_run(Run.open(copy), tmp_path / "bad.zip")
    with pytest.raises(KitError, match=r"fold-1/oof\.csv: missing, or not what was written"):
        unpack_run(tmp_path / "bad.zip", tmp_path / "to")
    (tmp_path / "no.zip").write_bytes(b"PK")
    assert "is no zip of a run" in call("unpack-run", tmp_path / "no.zip").output


def test_what_a_cluster_is_asked_for(tmp_path: Path) -> None:
    assert [_read_minutes(text) for text in ("4", "4:30", "0:00:30", None)] == [240, 270, 1, None]
    path = tmp_path / "cluster.json"
    path.write_text('{"partition": "gpu", "minutes": 30}', encoding="utf-8")
    asked = slurm.read_cluster(path, {"minutes": 90, "gpus": None})
    assert asked == slurm.Cluster(partition="gpu", minutes=90)
    path.write_text('{"partitions": "gpu"}', encoding="utf-8")
    with pytest.raises(KitError, match="partitions.*Known: partition, gpus, cpus"):
        slurm.read_cluster(path, {})
    assert call("run", "--engine", "slurm", "--time", "soon", "--run", "x").exit_code == 2


def test_the_jobs_of_a_system_end_in_its_blend(
    tiny_data: Path, tiny_bert: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "two.toml"
    member = '[[members]]\nname = "{}"\nrecipe = "default"\nmodel = "{}"\n'
    recipe.write_text(member.format("a", "*") + member.format("b", "tfidf"), encoding="utf-8")
    words = ["--task", "semeval2025-task11-a", "--data", tiny_data, "--langs", "eng"]
    words += ["--model", tiny_bert, "--submissions", tmp_path, "--run", "both", "--folds", "2"]
    result = call("system", recipe, *words, "--engine", "commands", "--threads", "1")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if not line.startswith("#")]
    assert [line.split()[1] for line in lines] == ["train", "train", "probs"] * 2 + ["blend"]
    members = " ".join(str(tmp_path / f"both_{name}") for name in ("a", "b"))
    assert lines[-1] == f"semeval-kit blend {members} --to both --submissions {tmp_path}"
