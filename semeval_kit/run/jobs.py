"""Jobs of a run on other machines: listed, submitted, watched, stopped; runs packed to move."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.files import SUMS, hold_lock, read_json, sha256_file, write_json
from semeval_kit.run.directory import Run
from semeval_kit.run.lease import read_place, read_state
from semeval_kit.run.prepare import Engine, Say

_ATTEMPTS = 3
_LEFT_OUT = ("worker.log", "state.json", "cluster.json")


@dataclass(frozen=True)
class Job:
    """What one process does for a run.

    Attributes:
        name: "fold-0", or "finish" for what comes after all folds.
        commands: the arguments of `semeval-kit`, one command after the other.
        after: names of the jobs that must be done before.
        writes: the folder or files inside the run.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def spell(self) -> str:
        """The job as one shell line."""
        return " && ".join(shlex.join(("semeval-kit", *words)) for words in self.commands)


@dataclass(frozen=True)
class Cluster:
    """What a scheduler is asked for, for each job.

    Attributes:
        max_jobs: of one run at a time.
    """

    partition: str = ""
    gpus: int = 0
    cpus: int = 2
    minutes: int = 240
    max_jobs: int = 20


def list_jobs(run: Run, engine: Engine) -> list[Job]:
    """The jobs of a run that are not done yet: its folds, then what needs all of them."""
    path = str(run.path.resolve())
    flags: tuple[str, ...] = ("--jobs", "1", "--processes", str(engine.processes))
    flags += ("--threads", str(engine.threads)) if engine.threads else ()
    folds = [
        Job(
            name=f"fold-{fold}",
            commands=(("train", path, "--fold", str(fold), *flags),),
            writes=tuple(str(run.fold_dir(m).relative_to(run.path)) for m in run.list_models(fold)),
        )
        for fold in range(run.n_folds)
        if not all(run.is_done(model) for model in run.list_models(fold))
    ]
    finish = Job(
        name="finish",
        commands=(("probs", path), ("tune", path), ("pack", path)),
        after=tuple(job.name for job in folds),
        writes=("dev", "test", run.thresholds_file.name, run.zip_file.name),
    )
    return [*folds, finish]


def spell_jobs(jobs: Sequence[Job]) -> str:
    """Jobs as a shell script: folds may be done at once and anywhere, what comes after may not."""
    folds = [job.spell() for job in jobs if not job.after and job.name != "finish"]
    lines = ["# folds: in any order, at once, on any machine that sees the folder", *folds]
    lines += ["# after all of them", *(job.spell() for job in jobs if job.name == "finish")]
    return "\n".join(lines)


def submit_jobs(run: Run, engine: Engine, cluster: Cluster, say: Say, kind: str = "slurm") -> None:
    """Hand the jobs of a run to Slurm; what is submitted and not done is not submitted again.

    Folds are an array; what comes after depends on all of them. The shell may be closed.

    Args:
        run: a prepared run.
        engine: threads and processes of each fold.
        cluster: what each job asks for.
        say: is told the numbers of the jobs.
        kind: "slurm", or "local" for processes of this machine (for trying things out).

    Raises:
        KitError: submitit is not installed, or the cluster refuses.
    """
    waiting = [job for job in list_jobs(run, engine) if not is_at_work(run, job)]
    folds = [job for job in waiting if job.name != "finish"]
    with _open_executor(run.path, cluster, kind) as executor:
        with executor.batch():
            handed = [executor.submit(Call(job.commands)) for job in folds]
        ids = {job.name: str(task.job_id) for job, task in zip(folds, handed, strict=True)}
        if kind == "slurm" and handed:
            after = ":".join(dict.fromkeys(id_.split("_")[0] for id_ in ids.values()))
            executor.update_parameters(
                slurm_additional_parameters={"dependency": f"afterok:{after}"}
            )
            ids["finish"] = str(executor.submit(Call(waiting[-1].commands)).job_id)
    _note_jobs(run.cluster_file, ids, say)


def submit_copies(
    folder: Path, words: Sequence[str], cluster: Cluster, n: int, say: Say, kind: str = "slurm"
) -> None:
    """Hand a command to Slurm several times: processes that share one folder's work.

    Args:
        folder: of the work; cluster.json there keeps the jobs' numbers.
        words: the arguments of `semeval-kit`.
        cluster: what each job asks for.
        n: how many.
        say: is told the numbers of the jobs.
        kind: as for `submit_jobs`.

    Raises:
        KitError: submitit is not installed, or the cluster refuses.
    """
    with _open_executor(folder, cluster, kind) as executor, executor.batch():
        handed = [executor.submit(Call((tuple(words),))) for _ in range(n)]
    ids = {f"process-{number}": str(task.job_id) for number, task in enumerate(handed)}
    _note_jobs(folder / "cluster.json", ids, say)


def is_at_work(run: Run, job: Job) -> bool:
    """Tell whether a process is at work on a job's fold now."""
    fold = job.name.removeprefix("fold-")
    models = run.list_models(int(fold)) if fold.isdecimal() else ()
    return any(read_state(run, model).get("state") == "running" for model in models)


class Call:
    """A job on a node: tried three times; told to leave, it asks to be queued again."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        """Keep the commands, each the arguments of `semeval-kit`."""
        self.commands = tuple(tuple(words) for words in commands)
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Do the commands one after the other.

        Raises:
            KitError: one failed three times; its last words are in the job's log.
        """
        for words in self.commands:
            for attempt in range(1, _ATTEMPTS + 1):
                self.process = subprocess.Popen([sys.executable, "-m", "semeval_kit", *words])
                code = self.process.wait()
                if code == 0:
                    break
                if attempt == _ATTEMPTS:
                    raise KitError(f"`{shlex.join(words)}` failed {_ATTEMPTS} times (exit {code}).")

    def checkpoint(self) -> Any:
        """Called by submitit when the job's time is over or its node is wanted: go on later."""
        import submitit

        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)
        return submitit.helpers.DelayedSubmission(Call(self.commands))


def describe_folds(run: Run) -> list[dict[str, Any]]:
    """Each model's state: done, running, waiting, stopped, lost or failed, and how far it is."""
    return [_describe_model(run, model) for model in range(run.n_models)]


def stop_jobs(run: Run, say: Say) -> int:
    """Stop what is this run's and nothing else: processes of this machine, and Slurm's jobs.

    Returns:
        How many were told to stop.
    """
    stopped = 0
    for model in range(run.n_models):
        state, name = read_state(run, model), run.name_model(model)
        if state.get("state") != "running":
            continue
        if state.get("host") != socket.gethostname():
            say(f"{name}: runs on {state.get('host')}; stop it there")
            continue
        if _is_worker(state.get("pid"), run, model):
            os.kill(int(state["pid"]), signal.SIGTERM)
            stopped += 1
            say(f"{name}: process {state['pid']} is told to stop")
    return stopped + _cancel_jobs(run.cluster_file, say)


def describe_search(path: Path) -> list[dict[str, Any]]:
    """Each trial of a search: how it ended, or who is at work on it and how far its fold is."""
    results = read_json(path / "results.json") if (path / "results.json").is_file() else {}
    told: dict[str, dict[str, Any]] = {}
    for trial in results.get("trials", ()):
        state = "waiting" if trial["state"] == "open" else trial["state"]
        told[trial["name"]] = {"model": trial["name"], "state": state, "why": trial["why"]}
    for file in sorted((path / "at-work").glob("*.json")):
        lease, run = read_place(file), Run(path / file.stem)
        state = {"model": file.stem, "state": lease.get("state", "lost"), "host": lease.get("host")}
        if run.settings_file.is_file():
            folds = [fold for fold in describe_folds(run) if fold["state"] == "running"]
            state |= {**folds[0], "model": f"{file.stem}, {folds[0]['model']}"} if folds else {}
        told[file.stem] = state
    return list(told.values())


def stop_search(path: Path, say: Say) -> int:
    """Stop the processes of this machine that are at work on a search, and Slurm's jobs of it.

    Returns:
        How many were told to stop.
    """
    pids = set()
    for file in sorted((path / "at-work").glob("*.json")):
        lease = read_place(file)
        if lease.get("state") == "running" and lease.get("host") != socket.gethostname():
            say(f"{file.stem}: runs on {lease.get('host')}; stop it there")
        elif lease.get("state") == "running" and "search" in _read_words(lease.get("pid")):
            pids.add(int(lease["pid"]))
            say(f"{file.stem}: process {lease['pid']} is told to stop")
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    return len(pids) + _cancel_jobs(path / "cluster.json", say)


def read_cluster(path: Path | None, given: Mapping[str, Any]) -> Cluster:
    """The settings of a cluster: from a JSON file, and what is given over it.

    Raises:
        KitError: the file is not such a file.
    """
    content: dict[str, Any] = {}
    if path is not None:
        try:
            content = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise KitError(f"{path}: cannot be read ({error}). Expected a JSON object.") from error
    content |= {name: value for name, value in given.items() if value is not None}
    try:
        return Cluster(**content)
    except TypeError as error:
        known = ", ".join(Cluster.__dataclass_fields__)
        raise KitError(f"{path}: {error}. Known: {known}.") from error


def pack_run(run: Run, path: Path, *, weights: bool = True) -> Path:
    """Zip a run's folder; what is being written, and logs, stay behind.

    Args:
        run: one that no process is at work on.
        path: the zip to be; it must not exist.
        weights: whether the folds' models and checkpoints go along. Without them a finished run is
            decided, packed, compared and reported, but predicts no new text.

    Raises:
        KitError: the zip exists, or a process is at work on the run.
    """
    if path.exists():
        raise KitError(f"{path}: exists. Name another file, or move it away.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with hold_lock(run.path):
        try:
            with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for file in sorted(run.path.rglob("*")):
                    name = file.relative_to(run.path)
                    if _is_carried(file, name, weights):
                        archive.write(file, PurePosixPath(run.name, *name.parts).as_posix())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def unpack_run(path: Path, folder: Path) -> Run:
    """Unpack what `pack_run` made into `folder/NAME`, after comparing every file with its hash.

    Raises:
        KitError: the file is no such zip, holds a name that leads elsewhere, a file is another
            than what was written, or the run is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / f".{path.stem}.{os.getpid()}.tmp"
    try:
        with zipfile.ZipFile(path) as archive:
            name = _check_names(path, archive.infolist())
            if (folder / name).exists():
                raise KitError(f"{folder / name}: exists. Move it away, or give another --to.")
            archive.extractall(staging)
        run = Run.open(staging / name)
        _ = run.settings, run.task
        find_changed(run.path)
        os.replace(staging / name, folder / name)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise KitError(f"{path}: is no zip of a run ({error}). Pack the run again.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Run.open(folder / name)


def find_changed(folder: Path) -> None:
    """Compare every file that a run's folders note with its hash.

    Raises:
        KitError: a file is missing or another than what was written.
    """
    for sums in sorted(folder.rglob(SUMS)):
        for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition("  ")
            file = sums.parent / name
            if not file.is_file() and name in _LEFT_OUT:
                continue
            if not file.is_file() or sha256_file(file) != digest:
                place = file.relative_to(folder)
                raise KitError(f"{place}: missing, or not what was written. Pack the run again.")


@contextmanager
def _open_executor(folder: Path, cluster: Cluster, kind: str) -> Iterator[Any]:
    try:
        import submitit
    except ImportError as error:
        raise KitError(
            "--engine slurm: submitit is not installed. Run `pip install 'semeval-kit[cluster]'`."
        ) from error
    try:
        executor = submitit.AutoExecutor(folder=folder / "cluster" / "%j", cluster=kind)
        executor.update_parameters(**_spell_needs(cluster, folder.resolve().name))
        yield executor
    except (RuntimeError, OSError, ValueError) as error:
        raise KitError(f"--engine slurm: the jobs cannot be submitted: {error}") from error


def _note_jobs(path: Path, ids: Mapping[str, str], say: Say) -> None:
    before = read_json(path) if path.is_file() else {}
    write_json(path, {**before, **ids})
    for name, id_ in ids.items():
        say(f"{name}: job {id_}")


def _cancel_jobs(path: Path, say: Say) -> int:
    ids = list(read_json(path).values()) if path.is_file() else []
    if ids:
        asked = subprocess.run(["scancel", *ids], capture_output=True, text=True, check=False)
        say(f"jobs {', '.join(ids)}: {asked.stderr.strip() or 'cancelled'}")
    return len(ids)


def _describe_model(run: Run, fold: int) -> dict[str, Any]:
    told: dict[str, Any] = {"model": run.name_model(fold)}
    if run.is_done(fold):
        done = run.read_done(fold)
        return {**told, "state": "done", "seconds": done.get("process_seconds")}
    state = read_state(run, fold)
    if not state:
        begun = run.checkpoint_dir(fold).is_dir()
        return {**told, "state": "waiting", "resumes": begun}
    told |= {name: value for name, value in state.items() if name not in ("pid", "parent", "steps")}
    if state.get("rows_per_second") and state.get("steps") and state.get("epoch"):
        epochs = int(run.recipe["epochs"])
        share = (int(state["epoch"]) - 1 + int(state["step"]) / int(state["steps"])) / epochs
        told["done_share"] = round(min(share, 1.0), 4)
    return told


def _is_worker(pid: Any, run: Run, fold: int) -> bool:
    """Whether the process is a worker of this fold: a number alone may be another's by now."""
    words = _read_words(pid)
    names = {str(run.path), str(run.path.resolve())}
    return (
        "semeval_kit.training.worker" in words and bool(names & set(words)) and str(fold) in words
    )


def _read_words(pid: Any) -> list[str]:
    """The command line of a process; nothing where there is none of that number."""
    import psutil

    try:
        return list(psutil.Process(int(pid)).cmdline())
    except (psutil.Error, TypeError, ValueError):
        return []


def _spell_needs(cluster: Cluster, name: str) -> Mapping[str, Any]:
    needs: dict[str, Any] = {
        "name": name,
        "timeout_min": cluster.minutes,
        "cpus_per_task": cluster.cpus,
        "slurm_array_parallelism": cluster.max_jobs,
    }
    if cluster.gpus:
        needs["gpus_per_node"] = cluster.gpus
    if cluster.partition:
        needs["slurm_partition"] = cluster.partition
    return needs


def _is_carried(file: Path, name: Path, weights: bool) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    heavy = bool({"model", "checkpoint"} & set(name.parts[:-1]))
    carried = file.is_file() and not file.is_symlink() and name.name not in _LEFT_OUT
    return carried and not hidden and (weights or not heavy) and "cluster" not in name.parts[:-1]


def _check_names(path: Path, members: list[zipfile.ZipInfo]) -> str:
    tops = set()
    for member in members:
        name = PurePosixPath(member.filename)
        is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or is_link:
            raise KitError(f"{path}: the name '{member.filename[:80]}' leads elsewhere. Refused.")
        tops.add(name.parts[0] if len(name.parts) > 1 else "")
    if len(tops) != 1 or tops == {""}:
        raise KitError(f"{path}: is no zip of a run. Make one with `semeval-kit pack-run`.")
    return str(tops.pop())
