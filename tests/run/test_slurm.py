"""Jobs of a run in a real Slurm of one node, which the tests start and end."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.run import slurm, stages
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine, Plan

pytestmark = [pytest.mark.slow, pytest.mark.trains]
SECONDS = 600  # on a machine that does other things, too
EPOCHS = 60  # of 0.1 s where nothing else runs: time to see that a fold learns, and to tell it


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Slurm for this module, see tests/slurm_cluster.py."""
    pytest.importorskip("submitit", reason="the extra [cluster] is not installed")
    path = Path(__file__).parents[1] / "slurm_cluster.py"
    spec = importlib.util.spec_from_file_location("slurm_cluster", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["slurm_cluster"] = module
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        try:
            with module.SlurmCluster(tmp_path_factory.mktemp("slurm")) as running:
                for name, value in running.environment.items():
                    patch.setenv(name, value)
                patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
                yield running
        except module.CannotStart as error:
            pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _end_jobs(cluster: Any) -> Iterator[None]:
    """Leave no job behind: those of a test that failed would take the node from the next one."""
    yield
    wait_for(lambda: is_empty(cluster), "the queue is empty")


@pytest.fixture
def words(tiny_data: Path, tiny_bert: Path, tmp_path: Path) -> list[str]:
    """Of `run` without an encoder: two folds, handed to Slurm."""
    given = ["--task", "semeval2025-task11-a", "--langs", "eng", "--data", str(tiny_data)]
    given += ["--submissions", str(tmp_path), "--folds", "2", "--seeds", "1"]
    given += ["--epochs", str(EPOCHS), "--batch-size", "8", "--lr", "0.005", "--head-lr", "0.02"]
    given += ["--precision", "fp32", "--freeze-embeddings", "false"]
    return [*given, "--engine", "slurm", "--cpus", "1"]


@pytest.fixture
def train_here(
    make_plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory, in_process: Any
) -> Callable[..., list[bytes]]:
    """Train the same folds in this process with one thread; gives their out-of-fold files."""

    def train(encoder: Path, **fields: Any) -> list[bytes]:
        plan = make_plan(("eng",), encoder=str(encoder), epochs=EPOCHS, **fields)
        run = stages.prepare(tmp_path_factory.mktemp("here") / "run", plan, lambda _: None)
        stages.train(run, Engine(1, 1), lambda _: None)
        return read_oof(run)

    return train


def read_oof(run: Run) -> list[bytes]:
    return [run.oof_file(fold).read_bytes() for fold in range(run.n_folds)]


def call(*given: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in given])


def wait_for(what: Callable[[], Any], words: str) -> Any:
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        if seen := what():
            return seen
        time.sleep(0.1)
    queue = subprocess.run(["squeue"], capture_output=True, text=True).stdout
    raise AssertionError(f"{words}: not in {SECONDS} seconds\n{queue}")


def is_learning(run: Run, fold: int) -> bool:
    """Whether a fold's lease tells of steps."""
    try:
        return bool(json.loads(run.state_file(fold).read_bytes()).get("step"))
    except (OSError, ValueError):
        return False


def read_log(run: Run, fold: int) -> str:
    """What submitit says of a fold's job."""
    id_ = slurm.read_submitted(run.path)[f"fold-{fold}"]
    logs = (run.path / "cluster" / id_).glob("*_log.*")
    return "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)


def is_empty(cluster: Any) -> bool:
    """Whether Slurm has no job any more; what there is is cancelled, also what comes back."""
    cluster.call("scancel", "--user=root")
    return not cluster.call("squeue", "--noheader")


def set_limit(cluster: Any, id_: str) -> None:
    """Let a running job's time end in a minute or so: Slurm's signal before that is due now."""
    told = cluster.call("scontrol", "show", "job", id_, "--oneliner")
    hours, minutes, _ = told.split("RunTime=")[1].split()[0].split(":")
    limit = int(hours) * 60 + int(minutes) + 2
    cluster.call("scontrol", "update", f"JobId={id_}", f"TimeLimit={limit}")


def set_node(cluster: Any, state: str) -> None:
    node = cluster.call("sinfo", "--noheader", "--format=%n")
    cluster.call("scontrol", "update", f"NodeName={node}", f"State={state}", "Reason=tests")


@pytest.mark.parametrize("folds", [2, pytest.param(5, marks=pytest.mark.long)])
def test_what_is_told_to_leave_goes_on_to_the_bytes_of_this_machine(
    cluster: Any,
    words: list[str],
    tiny_bert: Path,
    train_here: Callable[..., list[bytes]],
    tmp_path: Path,
    folds: int,
) -> None:
    words += ["--model", str(tiny_bert), "--run", "there", "--folds", str(folds)]
    handed = call("run", *words, "--time", "0:30:00")
    assert handed.exit_code == 0, handed.output
    run = Run(tmp_path / "there")
    ids = slurm.read_submitted(run.path)
    assert sorted(ids) == ["finish", *(f"fold-{fold}" for fold in range(folds))]
    assert len({ids[name].split("_")[0] for name in ids if name != "finish"}) == 1  # an array
    again = call("run", *words, "--time", "0:30:00")
    assert "fold-1: job " + ids["fold-1"] + ", in the queue already" in again.stderr
    assert slurm.read_submitted(run.path) == ids

    wait_for(lambda: is_learning(run, 0), "fold 0 learns")
    # As before a time limit. To the step: that to a task is delivered, too, but while others of its
    # array wait Slurm calls it a failure, and scancel repeats it for more than a minute.
    cluster.call("scancel", "--signal=USR2", f"{ids['fold-0']}.0")
    wait_for(lambda: "Requeued job" in read_log(run, 0), "queued again")
    set_node(cluster, "DRAIN")
    assert "finish: waiting" in call("status", run.path).stdout
    set_node(cluster, "RESUME")
    wait_for(lambda: is_learning(run, 1) or run.is_done(1), "fold 1 learns")
    if not run.is_done(1):
        cluster.call("scancel", "--signal=KILL", f"{ids['fold-1']}.0")  # the step; not the job
    wait_for(lambda: not slurm.read_queue(run.path), "all is done")
    told = call("status", run.path).stdout.splitlines()
    assert told == [*(f"fold {fold}: done" for fold in range(folds)), "finish: done"]
    assert read_oof(run) == train_here(tiny_bert, folds=folds)
    assert run.zip_file.is_file()
    assert "everything is done" in call("run", *words).stderr


@pytest.mark.long
def test_a_time_limit_that_strikes_costs_no_byte(
    cluster: Any,
    words: list[str],
    tiny_bert: Path,
    train_here: Callable[..., list[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of ten minutes one is left while the folds learn, on a disk that is slow until it struck."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK, encoding="utf-8")
    words += ["--model", str(tiny_bert), "--run", "late", "--checkpoint-minutes", "0.000001"]
    handed = call("run", *words, "--time", "0:10:00")
    assert handed.exit_code == 0, handed.output
    run = Run(tmp_path / "late")
    wait_for(lambda: is_learning(run, 0) and is_learning(run, 1), "both folds learn")
    ids = slurm.read_submitted(run.path)
    for fold in (0, 1):
        set_limit(cluster, ids[f"fold-{fold}"])
    wait_for(lambda: "Requeued job" in read_log(run, 0) + read_log(run, 1), "out of time")
    (tmp_path / "fast").touch()
    for name in {"fold-0", "fold-1"} & set(slurm.read_queue(run.path)):
        cluster.call("scontrol", "update", f"JobId={ids[name]}", "TimeLimit=60")  # once is enough
    assert "this job is timed-out" in read_log(run, 0) + read_log(run, 1)
    wait_for(lambda: not slurm.read_queue(run.path), "all is done")
    assert call("status", run.path).stdout == "fold 0: done\nfold 1: done\nfinish: done\n"
    assert read_oof(run) == train_here(tiny_bert)
    assert run.zip_file.is_file()


SLOW_DISK = """
import os, pathlib, time
_sync, _fast = os.fsync, pathlib.Path(__file__).with_name("fast")
def _sync_slowly(handle):
    if not _fast.exists():
        time.sleep(1)
    _sync(handle)
os.fsync = _sync_slowly
"""


def test_a_sweep_whose_shell_and_node_die_ends_in_the_same_bytes(
    cluster: Any,
    words: list[str],
    tiny_encoder: Callable[[str], Path],
    train_here: Callable[..., list[bytes]],
    tmp_path: Path,
) -> None:
    encoders = [tiny_encoder("bert"), tiny_encoder("distilbert")]
    words = ["sweep", *words, *(f"--model={encoder}" for encoder in encoders)]
    shell = subprocess.Popen([sys.executable, "-m", "semeval_kit", *words], stderr=subprocess.PIPE)
    wait_for(lambda: list(tmp_path.glob("*/cluster/*_1/*_submitted.pkl")), "an array is queued")
    shell.send_signal(signal.SIGKILL)
    shell.communicate()
    # The second encoder's run may be there already, and even be queued.
    queued = sorted(tmp_path.glob("*/cluster/*_1/*_submitted.pkl"), key=lambda p: p.stat().st_mtime)
    first = Run(queued[0].parents[2])
    left = slurm.read_queue(first.path)
    assert {"fold-0", "fold-1"} <= set(left)
    wait_for(lambda: is_learning(first, 0) or first.is_done(0), "the jobs go on")

    handed = call(*words)
    assert handed.exit_code == 0, handed.output
    for name in ("fold-0", "fold-1"):
        if name in slurm.read_queue(first.path):
            assert f"{name}: job {left[name].id}, in the queue already" in handed.stderr
    runs = [Run(path.parent) for path in sorted(tmp_path.glob("*/run.json"))]
    assert len(runs) == 2
    set_node(cluster, "DOWN")  # its jobs are killed; slurmd, which lives, brings it back
    for run in runs:
        wait_for(lambda run=run: not slurm.read_queue(run.path), "all is done")
        assert call("status", run.path).stdout == "fold 0: done\nfold 1: done\nfinish: done\n"
        assert run.zip_file.is_file()
        assert read_oof(run) == train_here(Path(run.recipe["encoder"]))


def test_what_fails_three_times_is_given_up_with_its_last_words(
    cluster: Any, words: list[str], tiny_bert: Path, tmp_path: Path
) -> None:
    words += ["--model", str(tiny_bert)]
    cluster.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    assert call("run", *words, "--run", "bad").exit_code == 0
    run = Run(tmp_path / "bad")
    assert "fold 0: waiting" in call("status", run.path).stdout
    with run.rows_file.open("a", encoding="utf-8") as file:
        file.write(" ")
    cluster.call("scontrol", "update", "PartitionName=main", "State=UP")
    wait_for(lambda: not slurm.read_queue(run.path), "all is given up")
    rows = call("status", run.path).stdout.splitlines()
    assert [row.split(",")[0] for row in rows] == ["fold 0: failed", "fold 1: failed"] + [
        "finish: failed"
    ]
    assert "rows.json: is not what was written" in rows[0]


def test_stop_cancels_the_jobs_of_one_run_alone(
    cluster: Any, words: list[str], tiny_bert: Path, tmp_path: Path
) -> None:
    words += ["--model", str(tiny_bert)]
    other = cluster.call("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 300")
    assert call("run", *words, "--run", "stopped").exit_code == 0
    stopped = call("stop", tmp_path / "stopped")
    assert "cancelled" in stopped.stderr
    wait_for(lambda: not slurm.read_queue(tmp_path / "stopped"), "cancelled")
    assert cluster.call("squeue", "--noheader", "--format=%i") == other
    cluster.call("scancel", other)
    assert "nothing is at work here" in call("stop", tmp_path / "stopped").stderr
