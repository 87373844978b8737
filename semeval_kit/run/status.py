"""How far a run is: each fold waiting, running where, done or failed and why; and stopping it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.files import read_json
from semeval_kit.run import slurm
from semeval_kit.run.directory import Run
from semeval_kit.run.lease import read_lease
from semeval_kit.run.plan import Say

Row = dict[str, Any]
# Of a job that Slurm has queued: why it waits, where a person would wonder.
_REASONS = {
    "Resources": "for a free node",
    "Priority": "behind jobs of more priority",
    "Dependency": "for the jobs before it",
    "JobArrayTaskLimit": "for --max-jobs",
    "BeginTime": "to be started again",
    "JobHeldUser": "held: `scontrol release` lets it go",
    "JobHeldAdmin": "held by an administrator",
    "JobHoldMaxRequeue": "held: it was queued again too often",
    "DependencyNeverSatisfied": "for a job that failed",
    "None": "to be looked at by Slurm",
}


def describe_jobs(path: Path) -> list[Row]:
    """What is to be done for a run and how far each part is.

    Args:
        path: a run, or the folder that a blend is to be written to.

    Returns:
        For each model, and each further job of a cluster, its name ("model"), its "state" (done,
        running, waiting, stopped, lost or failed), where ("host"), how far ("epoch", "done_share",
        "rows_per_second", "seconds_left": at most) and "why".

    Raises:
        KitError: there is nothing of the kind at the path.
    """
    submitted = slurm.read_submitted(path)
    run = Run(path) if submitted and not Run(path).settings_file.is_file() else Run.open(path)
    queued: dict[str, slurm.Queued] | None = {}
    if submitted:
        try:
            queued = slurm.read_queue(path)
        except KitError:  # carried to a machine that is not of the cluster
            queued = None
    rows = []
    is_made = run.settings_file.is_file()
    for model in range(run.n_models if is_made else 0):
        job = f"fold-{model % run.n_folds}"
        row = describe_model(run, model)
        rows.append(_add_job(row, path, job, submitted, queued))
    for job in submitted:
        if not job.startswith("fold-"):
            done = job not in (queued or {}) and slurm.has_completed(path, submitted[job])
            row = {"model": job, "state": "done" if done else "waiting"}
            rows.append(_add_job(row, path, job, submitted, queued))
    return rows


def describe_model(run: Run, model: int) -> Row:
    """How far a model is, as the files of the run tell."""
    told: Row = {"model": run.name_model(model)}
    if run.is_done(model):
        done = run.read_done(model)
        return {**told, "state": "done", "seconds": done.get("process_seconds")}
    state = read_lease(run.state_file(model))
    if not state:
        begun = run.checkpoint_dir(model).is_dir()
        return {**told, "state": "waiting", "resumes": begun}
    told |= {name: value for name, value in state.items() if name not in ("pid", "parent", "steps")}
    if state.get("rows_per_second") and state.get("steps") and state.get("epoch"):
        epochs = int(run.recipe["epochs"])
        share = (int(state["epoch"]) - 1 + int(state["step"]) / int(state["steps"])) / epochs
        told["done_share"] = round(min(share, 1.0), 4)
        held_out = list(run.read_folds().values()).count(model % run.n_folds)
        rows = (run.n_learnt_rows - (held_out if run.n_folds > 1 else 0)) * epochs
        left = (1 - told["done_share"]) * rows / float(state["rows_per_second"])
        told["seconds_left"] = round(left)
    return told


def stop_jobs(path: Path, say: Say) -> int:
    """Stop what is this run's and nothing else: Slurm's jobs, and processes of this machine.

    Returns:
        How many were told to stop.

    Raises:
        KitError: there is no run, or Slurm does not answer.
    """
    submitted = slurm.read_submitted(path)
    stopped = _cancel_jobs(path, say)
    if submitted and not Run(path).settings_file.is_file():
        return stopped
    run = Run.open(path)
    for model in range(run.n_models):
        state, name = read_lease(run.state_file(model)), run.name_model(model)
        if state.get("state") != "running":
            continue
        if state.get("host") != socket.gethostname():
            if not submitted:
                say(f"{name}: runs on {state.get('host')}; stop it there")
            continue
        if _is_worker(state.get("pid"), run, model):
            os.kill(int(state["pid"]), signal.SIGTERM)
            stopped += 1
            say(f"{name}: process {state['pid']} is told to stop")
    return stopped


def describe_search(path: Path) -> list[dict[str, Any]]:
    """Each trial of a search: how it ended, or who is at work on it and how far its fold is."""
    results = read_json(path / "results.json") if (path / "results.json").is_file() else {}
    told: dict[str, dict[str, Any]] = {}
    for trial in results.get("trials", ()):
        state = "waiting" if trial["state"] == "open" else trial["state"]
        told[trial["name"]] = {"model": trial["name"], "state": state, "why": trial["why"]}
    for file in sorted((path / "at-work").glob("*.json")):
        lease, run = read_lease(file), Run(path / file.stem)
        state = {"model": file.stem, "state": lease.get("state", "lost"), "host": lease.get("host")}
        if run.settings_file.is_file():
            models = [describe_model(run, model) for model in range(run.n_models)]
            folds = [fold for fold in models if fold["state"] == "running"]
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
        lease = read_lease(file)
        if lease.get("state") == "running" and lease.get("host") != socket.gethostname():
            say(f"{file.stem}: runs on {lease.get('host')}; stop it there")
        elif lease.get("state") == "running" and "search" in _read_words(lease.get("pid")):
            pids.add(int(lease["pid"]))
            say(f"{file.stem}: process {lease['pid']} is told to stop")
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    return len(pids) + _cancel_jobs(path, say)


def _add_job(
    row: Row,
    path: Path,
    job: str,
    submitted: dict[str, str],
    queued: dict[str, slurm.Queued] | None,
) -> Row:
    """A row with what the queue says of its job; what failed on a node is told by its log."""
    if job not in submitted or row["state"] == "done":
        return row
    row["job"] = submitted[job]
    if queued is None:
        return row
    own = queued.get(job)
    if own is None:
        if row["state"] in ("waiting", "lost", "stopped", "failed"):
            words = slurm.read_last_words(path, submitted[job]) or "it left no log"
            row |= {"state": "failed", "why": row.get("why") or words.splitlines()[-1]}
            row["last_words"] = words
    elif own.state == "PENDING":
        row |= {"state": "waiting", "why": _REASONS.get(own.reason, own.reason)}
        row.pop("host", None)
    elif row["state"] != "running" and own.state != "COMPLETING":
        row |= {"state": "running", "host": own.nodes, "why": "starts"}
    return row


def _cancel_jobs(path: Path, say: Say) -> int:
    if not slurm.read_submitted(path):
        return 0
    ids = slurm.cancel_jobs(path)
    if ids:
        say(f"jobs {', '.join(ids)}: cancelled")
    return len(ids)


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
