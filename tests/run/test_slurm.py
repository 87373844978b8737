"""Jobs of a run in a real Slurm of one node, which the tests start and end."""

from __future__ import annotations

import importlib.util
import json
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


@pytest.fixture
def words(tiny_data: Path, tiny_bert: Path, tmp_path: Path) -> list[str]:
    """Of `run`: two folds of ten epochs, handed to Slurm."""
    given = ["--task", "semeval2025-task11-a", "--langs", "eng", "--data", str(tiny_data)]
    given += ["--model", str(tiny_bert), "--submissions", str(tmp_path), "--folds", "2"]
    given += ["--seeds", "1"]
    given += ["--epochs", "10", "--batch-size", "8", "--lr", "0.005", "--head-lr", "0.02"]
    given += ["--precision", "fp32", "--freeze-embeddings", "false"]
    return [*given, "--engine", "slurm", "--cpus", "1"]


def call(*given: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in given])


def wait_for(what: Callable[[], Any], words: str) -> Any:
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        if seen := what():
            return seen
        time.sleep(0.3)
    raise AssertionError(f"{words}: not in {SECONDS} seconds")


def is_learning(run: Run, fold: int) -> bool:
    """Whether a fold's lease tells of steps."""
    try:
        return bool(json.loads(run.state_file(fold).read_bytes()).get("step"))
    except (OSError, ValueError):
        return False


def test_what_is_told_to_leave_goes_on_to_the_bytes_of_this_machine(
    cluster: Any, words: list[str], make_plan: Callable[..., Plan], tmp_path: Path, in_process: Any
) -> None:
    here = stages.prepare(tmp_path / "here", make_plan(("eng",), epochs=10), lambda _: None)
    stages.train(here, Engine(1, 1), lambda _: None)
    handed = call("run", *words, "--run", "there", "--time", "0:30:00")
    assert handed.exit_code == 0, handed.output
    run = Run(tmp_path / "there")
    ids = slurm.read_submitted(run.path)
    assert sorted(ids) == ["finish", "fold-0", "fold-1"]
    assert ids["fold-0"].split("_")[0] == ids["fold-1"].split("_")[0]  # an array
    again = call("run", *words, "--run", "there", "--time", "0:30:00")
    assert "fold-1: job " + ids["fold-1"] + ", in the queue already" in again.stderr
    assert slurm.read_submitted(run.path) == ids

    wait_for(lambda: is_learning(run, 0), "fold 0 learns")
    cluster.call("scancel", "--signal=USR2", ids["fold-0"])  # as before a time limit
    log = run.path / "cluster" / ids["fold-0"] / f"{ids['fold-0']}_0_log.out"
    wait_for(lambda: "Requeued job" in log.read_text(encoding="utf-8"), "queued again")
    node = cluster.call("sinfo", "--noheader", "--format=%n")
    cluster.call("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=tests")
    assert "finish: waiting" in call("status", run.path).stdout
    cluster.call("scontrol", "update", f"NodeName={node}", "State=RESUME")
    wait_for(lambda: is_learning(run, 1) or run.is_done(1), "fold 1 learns")
    if not run.is_done(1):
        cluster.call("scancel", "--signal=KILL", ids["fold-1"])
    wait_for(lambda: not slurm.read_queue(run.path), "all is done")
    assert call("status", run.path).stdout == "fold 0: done\nfold 1: done\nfinish: done\n"
    for fold in (0, 1):
        assert run.oof_file(fold).read_bytes() == here.oof_file(fold).read_bytes()
    assert run.zip_file.is_file()
    assert "everything is done" in call("run", *words, "--run", "there").stderr


def test_what_fails_three_times_is_given_up_with_its_last_words(
    cluster: Any, words: list[str], tmp_path: Path
) -> None:
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
    cluster: Any, words: list[str], tmp_path: Path
) -> None:
    other = cluster.call("sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 300")
    assert call("run", *words, "--run", "stopped").exit_code == 0
    stopped = call("stop", tmp_path / "stopped")
    assert "cancelled" in stopped.stderr
    wait_for(lambda: not slurm.read_queue(tmp_path / "stopped"), "cancelled")
    assert cluster.call("squeue", "--noheader", "--format=%i") == other
    cluster.call("scancel", other)
    assert "nothing is at work here" in call("stop", tmp_path / "stopped").stderr
