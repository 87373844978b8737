"""Slurm as an engine: jobs handed over through submitit, seen in the queue, cancelled.

The queue itself says which of its jobs are whose, in their comments: a shell that is killed while
it submits, or a copied folder, cannot make this module mistake another's job for its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from semeval_kit.errors import BusyError, KitError, import_extra
from semeval_kit.files import hold_lock, read_json, write_json
from semeval_kit.run.jobs import FINISH, Job
from semeval_kit.run.layout import FLEETING
from semeval_kit.run.plan import Say
from semeval_kit.training.machine import GRACE, LEAVING_SIGNALS

_ATTEMPTS = 3
_IDLE_ATTEMPTS = 5  # that were told to end before they had written anything
_SIGNAL_SECONDS = 120  # before a time limit, at most: to end a step and write a checkpoint
_GRACE_SECONDS = 60
_BUSY_SECONDS = 5  # beside those that the command itself waits
_RESTARTS = 1000  # of a job that is out of time: each goes on where the last one stopped
_KILLED_RESTARTS = 9
_CANCEL_SECONDS = 60  # Slurm lets a job that is told to end live on for half of that
_CANCEL_LOOK_SECONDS = 0.5
_LOG_LINES = 8
_COMPLETED = "Job completed successfully"
# How a command ends that was told to.
_LEFT = {-number for number in LEAVING_SIGNALS} | {128 + number for number in LEAVING_SIGNALS}
# A step that was killed (memory, an administrator) is queued again; a cancelled job is not. The
# number alone of an array's last task is the whole array's, too.
_TEARDOWN = (
    "code=$?",
    "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}",
    "job=${job:-$SLURM_JOB_ID}",
    f'if [ $code -gt 128 ] && [ $code -lt 160 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt '
    f'{_KILLED_RESTARTS} ] && [ "$(squeue -h -j "$job" -o %T)" = RUNNING ]; then',
    '  scontrol requeue "$job"',
    "fi",
    "exit $code",
)


@dataclass(frozen=True)
class Cluster:
    """What a scheduler is asked for, for each job.

    Attributes:
        partition: its name; empty: the cluster's own default.
        gpus: of each job.
        cpus: of each job; also the threads of a fold, unless these are given.
        minutes: time limit; a job that reaches it goes on in a new one.
        max_jobs: of one run at a time.
        options: more options of `sbatch`, such as {"account": "nlp", "mem": "16G"}.
        setup: shell lines before each job, such as "module load cuda".
    """

    partition: str = ""
    gpus: int = 0
    cpus: int = 2
    minutes: int = 240
    max_jobs: int = 20
    options: dict[str, str | int | bool] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Queued:
    """A job in Slurm's queue.

    Attributes:
        id: its number, "12" or "12_3" in an array.
        state: as Slurm spells it: PENDING, RUNNING, COMPLETING.
        reason: why it waits, as Slurm spells it.
        nodes: where it runs.
    """

    id: str
    state: str
    reason: str
    nodes: str


def read_cluster(path: Path | None, given: Mapping[str, Any]) -> Cluster:
    """The settings of a cluster: from a TOML or JSON file, and what is given over it.

    Raises:
        KitError: the file is not such a file.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            content = dict(json.loads(text) if path.suffix == ".json" else tomllib.loads(text))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise KitError(f"{path}: cannot be read ({error}). Expected TOML or JSON.") from error
    content |= {name: value for name, value in given.items() if value is not None}
    known, plain = Cluster.__dataclass_fields__, asdict(Cluster())
    for name, value in content.items():
        if name not in known:
            raise KitError(f"{path}: '{name}' is not known. Known: {', '.join(known)}.")
        kind = type(plain[name])
        if type(value) is not kind or (kind is int and value < (0 if name == "gpus" else 1)):
            raise KitError(f"{path}: {name} is {value!r}; expected such as {plain[name]!r}.")
    return Cluster(**content)


def submit_jobs(
    folder: Path,
    jobs: Sequence[Job],
    cluster: Cluster,
    say: Say,
    *,
    wait_for: Sequence[str] = (),
    kind: str = "slurm",
) -> dict[str, str]:
    """Hand jobs to Slurm, those that wait for nothing as an array; the shell may be closed.

    What is in the queue already is not submitted again.

    Args:
        folder: a run, or what is to be one; scripts and logs are kept in its `cluster`.
        jobs: what is to be done.
        cluster: what each job asks for.
        say: is told the numbers of the jobs.
        wait_for: numbers of jobs of other folders that must be done before any job with `after`.
        kind: "slurm", or "local" for processes of this machine (for trying things out).

    Returns:
        The number of each job that is in the queue now, by name.

    Raises:
        KitError: submitit is not installed, or the cluster refuses.
    """
    submitit = import_extra("submitit", "cluster", "--engine slurm needs")
    place = folder.resolve() / "cluster"
    place.mkdir(parents=True, exist_ok=True)
    with hold_lock(place, seconds=60):
        queued = {} if kind != "slurm" else _cancel_taskless(folder, read_queue(folder))
        ids = {name: job.id for name, job in queued.items()}
        array = [job for job in jobs if not job.after and job.name not in {FINISH, *ids}]
        later = [job for job in jobs if job.after or job.name == FINISH]
        try:
            executor = submitit.AutoExecutor(
                folder=place / "%j", cluster=kind, slurm_max_num_timeout=_RESTARTS
            )
            executor.update_parameters(**_spell_needs(cluster, folder, [job.name for job in array]))
            with executor.batch() if array else nullcontext():
                handed = [executor.submit(_call_for(folder, job)) for job in array]
            ids |= {job.name: str(task.job_id) for job, task in zip(array, handed, strict=True)}
            for job in later if kind == "slurm" else ():
                if job.name in queued and not array:
                    continue  # it waits for what is in the queue
                if job.name in queued:
                    _call("scancel", queued[job.name].id)
                before = [ids[name] for name in job.after if name in ids] + list(wait_for)
                executor.update_parameters(**_spell_needs(cluster, folder, [job.name], before))
                ids[job.name] = str(executor.submit(_call_for(folder, job)).job_id)
        except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as error:
            raise KitError(f"--engine slurm: the jobs cannot be submitted: {error}") from error
        write_json(place / "jobs.json", {**read_submitted(folder), **ids})
    for name, id_ in ids.items():
        say(f"{name}: job {id_}" + (", in the queue already" if name in queued else ""))
    return ids


def read_submitted(folder: Path) -> dict[str, str]:
    """The number of each job that was ever handed over for a folder, by name: the last one."""
    path = folder / "cluster" / "jobs.json"
    return {name: str(id_) for name, id_ in read_json(path).items()} if path.is_file() else {}


def read_queue(folder: Path) -> dict[str, Queued]:
    """The jobs of a folder that are in Slurm's queue now, by name.

    Raises:
        KitError: Slurm does not answer.
    """
    text = _call("squeue", "--noheader", "--array", "--me", "--format=%i|%T|%r|%N|%k")
    queued = {}
    for line in text.splitlines():
        id_, state, reason, nodes, comment = (*line.strip().split("|", 4), *[""] * 4)[:5]
        owner, _, names = comment.rpartition(":")
        if owner != _name_owner(folder):
            continue
        position = int(id_.partition("_")[2] or 0)
        if position < len(names.split(",")):
            queued[names.split(",")[position]] = Queued(id_, state, reason, nodes)
    return queued


def cancel_jobs(folder: Path) -> list[str]:
    """Cancel the jobs of a folder that are in the queue, and no others; they are seen to end.

    One that was about to queue itself again comes back, and is cancelled again.

    Returns:
        Their numbers.

    Raises:
        KitError: Slurm does not answer.
    """
    ids: list[str] = []
    give_up = time.monotonic() + _CANCEL_SECONDS
    while (queued := read_queue(folder)) and time.monotonic() < give_up:
        if left := [job.id for job in queued.values() if job.state != "COMPLETING"]:
            _call("scancel", *left)
        ids += [id_ for id_ in left if id_ not in ids]
        time.sleep(_CANCEL_LOOK_SECONDS)
    return ids


def read_last_words(folder: Path, id_: str) -> str:
    """The last lines that a job wrote to its log."""
    logs = sorted((folder / "cluster" / id_).glob("*_log.err"))
    if not logs:
        return ""
    lines = logs[0].read_text(encoding="utf-8", errors="replace").strip().splitlines()
    told_by_slurm = ("submitit ", "srun: ", "slurmstepd: ")
    words = [line for line in lines if not line.startswith(told_by_slurm)]
    return "\n".join((words or lines)[-_LOG_LINES:])


def has_completed(folder: Path, id_: str) -> bool:
    """Tell whether a job came to its end, by the log that submitit leaves."""
    logs = sorted((folder / "cluster" / id_).glob("*_log.out"))
    return any(_COMPLETED in log.read_text(encoding="utf-8", errors="replace") for log in logs)


class Call:
    """A job on a node: tried three times; told to leave, it asks to be queued again."""

    def __init__(
        self, commands: Sequence[Sequence[str]], writes: Sequence[Path] = (), n_idle: int = 0
    ) -> None:
        """Keep what is to be done.

        Args:
            commands: each the arguments of `semeval-kit`.
            writes: the folders and files that tell whether anything was done.
            n_idle: how often in a row the job was told to leave before it had written there.
        """
        self.commands = tuple(tuple(words) for words in commands)
        self.writes, self.n_idle = tuple(writes), n_idle
        self.pid = 0
        self.written: frozenset[tuple[str, int]] = frozenset()

    def __call__(self) -> None:
        """Do the commands one after the other.

        Raises:
            KitError: one failed three times; its last words are in the job's log.
        """
        self.written = self._look()
        for words in self.commands:
            failures = 0
            while (code := self._do(words)) != 0:
                if code in _LEFT:
                    # Told to end, as by scancel or for a job of more weight: these kill soon.
                    time.sleep(_GRACE_SECONDS)
                    continue
                if code == BusyError.exit_code:  # a copy of this job, as when a node was cut off
                    time.sleep(_BUSY_SECONDS)
                    continue
                failures += 1
                if failures == _ATTEMPTS:
                    raise KitError(f"`{shlex.join(words)}` failed {_ATTEMPTS} times (exit {code}).")

    def checkpoint(self) -> Any:
        """Called by submitit when the job's time is over or its node is wanted: go on later.

        Raises:
            KitError: the job was cancelled meanwhile, so that it must not come back; or it has been
                told to leave five times in a row before it had written anything.
        """
        import submitit

        signal.signal(submitit.JobEnvironment._usr_sig(), signal.SIG_IGN)
        give_up = time.monotonic() + _GRACE_SECONDS
        if self.pid and _is_running(self.pid):
            os.kill(self.pid, signal.SIGTERM)
        while self.pid and _is_running(self.pid) and time.monotonic() < give_up:
            time.sleep(0.1)
        if _is_cancelled():
            raise KitError("cancelled while it was leaving, so it is not queued again.")
        n_idle = self.n_idle + 1 if self.writes and self._look() == self.written else 0
        if n_idle == _IDLE_ATTEMPTS:
            raise KitError(
                f"told to end {n_idle} times before anything was written, the first checkpoint "
                "included. Submit again with a longer --time, or another --partition."
            )
        return submitit.helpers.DelayedSubmission(Call(self.commands, self.writes, n_idle))

    def _look(self) -> frozenset[tuple[str, int]]:
        """The files that a later job goes on from, each with when it was written."""
        files = set()
        for place in self.writes:
            for path in (place, *place.rglob("*")):
                fleeting = path.name in FLEETING and path.parent == place
                with suppress(OSError):  # gone by now
                    if not fleeting and not path.name.startswith(".") and path.is_file():
                        files.add((str(path), path.stat().st_mtime_ns))
        return frozenset(files)

    def _do(self, words: Sequence[str]) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "semeval_kit", *words],
            env={**os.environ, GRACE: str(_GRACE_SECONDS - 10)},
        )
        self.pid = process.pid
        while (code := process.poll()) is None:  # its wait() holds a lock that a signal would need
            time.sleep(0.1)
        self.pid = 0
        return code


def _call_for(folder: Path, job: Job) -> Call:
    return Call(job.commands, [folder.resolve() / name for name in job.writes])


def _cancel_taskless(folder: Path, queued: dict[str, Queued]) -> dict[str, Queued]:
    """Cancel what a shell put in the queue and was killed before it said what is to be done."""
    tasks = {
        name: folder / "cluster" / job.id / f"{job.id}_submitted.pkl"
        for name, job in queued.items()
    }
    whole = {name: job for name, job in queued.items() if tasks[name].is_file()}
    if len(whole) < len(queued):
        _call("scancel", *(job.id for name, job in queued.items() if name not in whole))
    return whole


def _is_cancelled() -> bool:
    """Whether Slurm ends this job, and not for its time: `scontrol requeue` would bring it back."""
    place = os.environ
    if "SLURM_JOB_ID" not in place:
        return False
    id_ = place["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in place:
        id_ = f"{place['SLURM_ARRAY_JOB_ID']}_{place['SLURM_ARRAY_TASK_ID']}"
    try:
        told = _call("squeue", "--noheader", f"--jobs={id_}", "--format=%T|%r")
    except KitError:  # a Slurm that does not answer now: rather queued again than lost
        return False
    return told.strip() == "COMPLETING|None"  # else "RUNNING|None" or "COMPLETING|TimeLimit"


def _is_running(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _spell_needs(
    cluster: Cluster,
    folder: Path,
    names: Sequence[str],
    after: Iterable[str] = (),
) -> dict[str, Any]:
    more: dict[str, Any] = {"requeue": True, **cluster.options}
    if before := ":".join(after):
        more |= {"dependency": f"afterok:{before}", "kill-on-invalid-dep": "yes"}
    needs: dict[str, Any] = {
        "name": folder.resolve().name,
        "timeout_min": cluster.minutes,
        "cpus_per_task": cluster.cpus,
        "slurm_array_parallelism": cluster.max_jobs,
        "slurm_comment": f"{_name_owner(folder)}:{','.join(names)}",
        "slurm_signal_delay_s": min(_SIGNAL_SECONDS, 60 * cluster.minutes // 4),
        "slurm_setup": list(cluster.setup),
        "slurm_teardown": list(_TEARDOWN),
        "slurm_additional_parameters": more,
    }
    if cluster.gpus:
        needs["gpus_per_node"] = cluster.gpus
    if cluster.partition:
        needs["slurm_partition"] = cluster.partition
    return needs


def _name_owner(folder: Path) -> str:
    """What the comments of a folder's jobs begin with: its place, in few letters."""
    return "semeval-kit:" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def _call(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    except FileNotFoundError as error:
        raise KitError(f"{words[0]}: no such command. Is this a machine of the cluster?") from error
    except (subprocess.SubprocessError, OSError) as error:
        told = str(getattr(error, "stderr", "") or error).strip()
        raise KitError(f"{words[0]}: {told}. Try again when Slurm answers.") from error
    return done.stdout
