"""SIGKILLs at random moments of runs: is anything lost, or do other bytes come out?

    python tests/benchmarks/kill_runs.py --kills 200 --engine local --seed 0
    python tests/benchmarks/kill_runs.py --kills 20 --command system

Half of the kills wait for an epoch to be under way. A run that was killed is done again by the same
command, until it is finished; then what it leaves is compared with a run that was left alone: its
out-of-fold files, what was decided, what is uploaded. `local` strikes a command (`run`, `system` of
three members, `adopt`) and its processes. `slurm` strikes jobs of `run`, their processes and the
shell that submits them: SLURM_CONF must lead to a queue, as tests/slurm_cluster.py prints it.
`fork` strikes the processes of folds alone, forked from one that has imported all, which takes a
tenth of the time.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

_ROOT = Path(__file__).parents[2]
_SECONDS = 900  # for one command, or after the last kill; more is counted as lost
_FOLDS = 2
_MOST_KILLS = 12  # of one run on Slurm, which is then let finish
_OOF = "fold-*/oof.csv"
# What must be the same byte for byte.
_RESULTS = (_OOF, "*/probs_*.csv", "*/pred_*.csv", "*.zip", "oof_answers.csv")
_RESULTS += ("thresholds.json", "estimate.json", "weights.json", "blend.json")
_MEMBERS = """
[[members]]
name = "encoder"
model = "*"

[[members]]
name = "frozen"
model = "frozen:*"

[[members]]
name = "words"
model = "tfidf"
"""


@dataclass(frozen=True)
class Moment:
    """What a kill strikes.

    Attributes:
        state: the lease of a fold that a process is at work on; empty where there is none.
        is_inside: whether the last checkpoint since the wait began is one inside an epoch.
    """

    state: dict[str, Any]
    is_inside: bool


@dataclass
class Tally:
    """What became of the kills.

    Attributes:
        kills: by target: worker, parent, all, step, job, shell.
        inside: kills of what had last written a checkpoint inside an epoch, and was learning on.
        runs: that were killed and done again until they were finished.
        lost: commands that ended otherwise than by the kill, in words.
        different: files that have other bytes, or are missing.
    """

    kills: Counter[str] = field(default_factory=Counter)
    inside: int = 0
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def add(self, target: str, moment: Moment) -> None:
        """Count a kill, and tell: a night's kills may be cut short, too."""
        self.kills[target] += 1
        self.inside += moment.is_inside and bool(moment.state)
        print(self, file=sys.stderr, flush=True)

    def __str__(self) -> str:
        """Say it in one line."""
        targets = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        return (
            f"{sum(self.kills.values())} kills ({targets}), {self.inside} inside an epoch, over "
            f"{self.runs} runs: {len(self.lost)} lost, {len(self.different)} different"
        )


def main() -> None:
    """Kill runs and print what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--engine", choices=["local", "slurm", "fork"], default="local")
    parser.add_argument("--command", choices=["run", "system", "adopt"], default="run")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.engine != "local" and asked.command != "run":
        parser.error("--command: of --engine local alone")
    if asked.engine == "slurm" and subprocess.run(["sinfo"], capture_output=True).returncode:
        parser.error("no Slurm answers: start one by tests/slurm_cluster.py and set SLURM_CONF")
    with tempfile.TemporaryDirectory() as scratch:
        words = write_inputs(Path(scratch), asked.command, asked.epochs)
        tally = kill_runs(Path(scratch), words, asked.kills, asked.engine, asked.seed)
    print(tally)
    for line in (*tally.lost, *tally.different):
        print(line)
    raise SystemExit(bool(tally.lost or tally.different))


def write_inputs(folder: Path, command: str = "run", epochs: int = 6) -> list[str]:
    """Write tiny data and a tiny encoder; gives the words of a command that uses them.

    The last word is the flag that names what the command makes.
    """
    conftest, data = load_module(_ROOT / "tests" / "conftest.py"), folder / "data"
    conftest.write_tiny_data(data, {"train": 128, "dev": 10, "test": 12})
    words = ["--task", "semeval2025-task11-a", "--langs", "eng", "--data", str(data)]
    words += ["--submissions", str(folder / "runs")]
    if command == "adopt":
        files = [_write_probs(data, split, folder / f"{split}.csv") for split in ("train", "test")]
        return ["adopt", *files, *words, "--to"]
    (folder / "encoder").mkdir()
    conftest.save_tiny_encoder(folder / "encoder", "bert")
    words += ["--model", str(folder / "encoder"), "--epochs", str(epochs), "--jobs", "1"]
    words += ["--folds", str(_FOLDS), "--threads", "1", "--precision", "fp32", "--seeds", "1"]
    words += ["--batch-size", "8", "--checkpoint-minutes", "0.000001"]
    if command == "run":
        return ["run", "--no-report", *words, "--run"]
    (folder / "members.toml").write_text(_MEMBERS, encoding="utf-8")
    return ["system", str(folder / "members.toml"), *words, "--run"]


def _write_probs(data: Path, split: str, path: Path) -> str:
    """Write made-up probabilities of a split; gives the word of `adopt` that names them."""
    draw = random.Random(split)
    with (data / "track_a" / split / "eng.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    made = [[row[0], *(f"{draw.random():.6f}" for _ in header[2:])] for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[header[0], *header[2:]], *made])
    return f"{split}={path}"


def kill_runs(
    folder: Path,
    words: list[str],
    n_kills: int,
    engine: str,
    seed: int,
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> Tally:
    """Kill runs until there were enough kills, then let the last one finish.

    Args:
        folder: for runs.
        words: of `write_inputs`.
        n_kills: how many.
        engine: "local", "slurm" or "fork".
        seed: of the moments.
        tell: is told how it goes.
    """
    draw, tally = random.Random(seed), Tally()
    whole, started = folder / "runs" / "whole", time.monotonic()
    _finish([*words, whole.name], tally)
    seconds = 1.3 * (time.monotonic() - started)  # so that some are left to finish
    expected = _read_results(whole, engine)
    strike = {"slurm": _strike_slurm, "local": _strike_local, "fork": _strike_fork}[engine]
    while sum(tally.kills.values()) < n_kills:
        run = folder / "runs" / f"killed-{tally.runs:03d}"
        tally.runs += 1
        strike([*words, run.name], run, n_kills, draw, tally, seconds)
        found = _read_results(run, engine)
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                tally.different.append(f"{run.name}: {name}")
        tell(str(tally))
    return tally


def _read_results(run: Path, engine: str) -> dict[str, bytes]:
    """What a run and its members leave; their names are taken out, which lie in paths."""
    own, contents = run.name.encode(), {}
    for folder in _list_folders(run):
        for pattern in (_OOF,) if engine == "fork" else _RESULTS:
            for path in folder.glob(pattern):
                name = path.relative_to(run.parent).as_posix().replace(run.name, "RUN")
                contents[name] = path.read_bytes().replace(own, b"RUN")
    return contents


def _list_folders(run: Path) -> list[Path]:
    """The run's folder and those of a system's members."""
    return sorted(run.parent.glob(f"{run.name}*"))


def _strike_local(
    words: list[str], run: Path, n_kills: int, draw: random.Random, tally: Tally, seconds: float
) -> None:
    """Start a command and kill it, again and again, until the run is done."""
    while sum(tally.kills.values()) < n_kills:
        process = _start(words)
        is_over: Callable[[], bool] = lambda p=process: p.poll() is not None  # noqa: E731
        moment = _wait_for_moment(run, draw, is_over, seconds, learns=words[0] != "adopt")
        if process.poll() is not None:
            break
        target = draw.choice(("worker", "parent", "all"))
        if target == "worker" and not moment.state:
            target = "all"
        if target != "worker":
            os.kill(process.pid, signal.SIGKILL)
        if target != "parent" and moment.state:
            _kill(moment.state["pid"])
        tally.add(target, moment)
        _note_end(process, tally, killed=True)
    _finish(words, tally)


def _strike_slurm(
    words: list[str], run: Path, n_kills: int, draw: random.Random, tally: Tally, seconds: float
) -> None:
    """Hand a run to Slurm and kill what is at work on it until it is done."""
    words = [*words, "--engine", "slurm", "--cpus", "1", "--time", "1:00:00"]
    give_up, before = time.monotonic() + _SECONDS, sum(tally.kills.values())
    while not (run / f"{run.name}.zip").is_file():
        if time.monotonic() > give_up:
            tally.lost.append(f"{run.name}: not done in time\n{_describe_queue(run)}")
            _call("scancel", f"--name={run.name}")
            return
        n_struck = sum(tally.kills.values())
        is_over = n_struck >= n_kills or n_struck - before >= _MOST_KILLS
        if not _list_queue(run.name):  # a job that was killed three times is given up
            if not is_over and draw.random() < 0.5:
                _kill_shell(words, draw, tally)
            _finish(words, tally)
            give_up = time.monotonic() + _SECONDS
        if is_over:
            time.sleep(1)
            continue
        moment = _wait_for_moment(run, draw, lambda: not _list_queue(run.name), min(seconds, 60.0))
        target = draw.choice(("worker", "parent", "step", "job"))
        running = [line.split("|")[0] for line in _list_queue(run.name) if "RUNNING" in line]
        if target in ("step", "job") and running:  # a job that is killed is cancelled
            id_ = draw.choice(running)
            _call("scancel", "--signal=KILL", f"{id_}.0" if target == "step" else id_)
        elif target in ("worker", "parent") and moment.state:
            _kill(moment.state["pid" if target == "worker" else "parent"])
        else:
            continue
        tally.add(target, moment)
        give_up = time.monotonic() + _SECONDS


def _describe_queue(run: Path) -> str:
    """What Slurm and the run say of what is not done."""
    told = [_call("squeue", "--array", "--format=%i %T %r %k"), _call("sinfo", "-N", "-o", "%T %E")]
    kit = [sys.executable, "-m", "semeval_kit", "status", str(run)]
    told.append(_call("env", f"PYTHONPATH={_ROOT}", *kit))
    told += [path.read_text(errors="replace")[-600:] for path in run.glob("cluster/*/*_log.err")]
    return "\n".join(told)


def _kill_shell(words: list[str], draw: random.Random, tally: Tally) -> None:
    """Submit and be killed meanwhile: before, between or after the calls of sbatch."""
    process = _start(words)
    time.sleep(draw.uniform(0, 8))
    if process.poll() is None:
        process.kill()
        tally.kills["shell"] += 1
    _note_end(process, tally, killed=True)


def _strike_fork(
    words: list[str], run: Path, n_kills: int, draw: random.Random, tally: Tally, seconds: float
) -> None:
    """Kill a fold's process at any moment, and start it again, until the folds are done."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as the run that was left alone: threads decide bits
    whole = run.with_name("whole")
    made = ("fold-*", "dev", "test", "*.zip", "thresholds.json", "estimate.json", "oof_*")
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns(*made))
    for fold in range(_FOLDS):
        while not (run / f"fold-{fold}" / "done.json").is_file():
            pid = _fork_worker(run, fold)
            is_killed = sum(tally.kills.values()) < n_kills
            if is_killed:
                moment = _wait_for_moment(run, draw, lambda pid=pid: _has_ended(pid), 8.0)
                is_killed = not _has_ended(pid)
            if is_killed:
                os.kill(pid, signal.SIGKILL)
                tally.add("worker", moment)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code not in ({0, -signal.SIGKILL} if is_killed else {0}):  # 0: it was ending
                tally.lost.append(f"{run.name}, fold {fold}: exit {code}")
                return


def _fork_worker(run: Path, fold: int) -> int:
    import torch  # noqa: F401

    import semeval_kit.training.fold  # noqa: F401
    from semeval_kit.training import worker

    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        sys.argv = ["worker", "train", str(run), str(fold)]
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        worker.main()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        os._exit(code)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _wait_for_moment(
    run: Path,
    draw: random.Random,
    is_over: Callable[[], bool],
    seconds: float,
    *,
    learns: bool = True,
) -> Moment:
    """Wait for any moment, or one inside an epoch; gives what is at work on a fold then."""
    begun = _list_checkpoints(run)
    give_up = time.monotonic() + draw.uniform(0, seconds)
    waits_for_epoch = draw.random() < 0.5 and learns
    while not is_over() and (waits_for_epoch or time.monotonic() < give_up):
        if waits_for_epoch and _list_checkpoints(run) - begun:
            time.sleep(draw.uniform(0, 5))
            break
        time.sleep(0.05)
    written = sorted(_list_checkpoints(run) - begun)
    return Moment(_read_state(run), bool(written) and "-step-" in written[-1][1])


def _list_checkpoints(run: Path) -> set[tuple[float, str]]:
    """When each checkpoint was written, and its name: that of an epoch, or of a step in one."""
    checkpoints = set()
    for folder in _list_folders(run):
        for path in folder.glob("fold-*/checkpoint/epoch-*/MANIFEST.json"):
            with suppress(OSError):
                checkpoints.add((path.stat().st_mtime, path.parent.name))
    return checkpoints


def _read_state(run: Path) -> dict[str, Any]:
    """The lease of the fold that a living process is at work on."""
    for path in [p for folder in _list_folders(run) for p in folder.glob("fold-*/state.json")]:
        try:
            state = dict(json.loads(path.read_bytes()))
            os.kill(int(state["pid"]), 0)
        except (OSError, ValueError, KeyError):
            continue
        return state
    return {}


def _start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "semeval_kit", *words],
        env={**os.environ, "PYTHONPATH": str(_ROOT), "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _finish(words: list[str], tally: Tally) -> None:
    _note_end(_start(words), tally, killed=False)


def _note_end(process: subprocess.Popen[str], tally: Tally, *, killed: bool) -> None:
    """Wait for a command; that it fails is a loss, unless it or its worker was killed."""
    try:
        told = process.communicate(timeout=_SECONDS)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        tally.lost.append("a command hangs: " + process.communicate()[1][-500:])
        return
    expected = {0, -signal.SIGKILL} if killed else {0}
    was_worker = killed and process.returncode == 1 and "exit code -9" in told
    if process.returncode not in expected and not was_worker:
        tally.lost.append(f"exit {process.returncode}: {told[-800:]}")
    if "Traceback" in told:
        tally.lost.append(f"a traceback: {told[-800:]}")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGKILL)


def _list_queue(name: str) -> list[str]:
    return _call("squeue", "--noheader", "--array", f"--name={name}", "--format=%i|%T").split()


def _call(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout


def load_module(path: Path) -> ModuleType:
    """A file of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
