"""One fold in a process of its own: `python -m semeval_kit.training.worker train RUN FOLD`.

Started by `fanout`, for an encoder through `accelerate launch`. It tells its parent how it goes
with one JSON object per line on stdout, and experiment trackers of every epoch: a run of theirs for
each fold, those of a run in one group. What a fold is depends on the run's member; torch is
imported only for those that need it.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from semeval_kit.errors import KitError, explain_error
from semeval_kit.files import hold_lock, remove_leftovers
from semeval_kit.probs import Probs, write_probs
from semeval_kit.run.directory import Run
from semeval_kit.run.lease import Lease, hold_lease
from semeval_kit.training.machine import grace_seconds, leave_when_told

Event = dict[str, Any]
WATCH_PARENT = "SEMEVAL_KIT_WATCH_PARENT"
_LINEAR = ("linear", "frozen")  # members without torch
_EVENT_SECONDS = 0.5
_LOCK_SECONDS = 20
_ORPHAN_SECONDS = 10

REPORT_TO = "SEMEVAL_KIT_REPORT_TO"
"""The environment variable by which the processes of folds know the experiment trackers."""
_PACKAGES = {
    "wandb": ("wandb",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "mlflow": ("mlflow",),
}
# Of an epoch's event, what is no measure.
_NO_MEASURE = {"event", "fold", "epoch"}


def main() -> None:
    """Run the process of one fold."""
    parser = argparse.ArgumentParser(prog="semeval_kit.training.worker")
    parser.add_argument("job", choices=["train", "predict"])
    parser.add_argument("run", type=Path)
    parser.add_argument("fold", type=int)
    parser.add_argument("--split", dest="splits", action="append", default=[])
    asked = parser.parse_args()
    atexit.register(gc.freeze)  # a last collection over all of torch would take a second
    leave_when_told()
    if WATCH_PARENT in os.environ:
        _end_with_parent()
    emit = Emitter(asked.fold)
    is_main = int(os.environ.get("RANK", "0")) == 0
    is_alone = int(os.environ.get("WORLD_SIZE", "1")) == 1  # else the others wait for this one
    try:
        run = Run.open(asked.run)
        with lock_fold(run, asked.fold) if is_main else nullcontext() as emit.lease:
            if asked.job == "train" and is_alone and run.is_done(asked.fold):
                emit({"event": "note", "text": "another process has finished it"})
            elif asked.job == "train" and is_main and os.environ.get(REPORT_TO):
                with tracking(run, asked.fold, emit) as tell:
                    do_job(asked.job, run, asked.fold, asked.splits, tell)
            else:
                do_job(asked.job, run, asked.fold, asked.splits, emit)
    except Exception as error:
        if not isinstance(error, KitError):
            traceback.print_exc()  # into the fold's log
        told = explain_error(error)
        emit({"event": "error", "text": told.message})
        raise SystemExit(told.exit_code) from error


def do_job(
    job: str, run: Run, fold: int, splits: Sequence[str], emit: Callable[[Event], None]
) -> None:
    """Train a fold, or predict with it, by the code of the run's member.

    Raises:
        KitError: the job cannot be done.
    """
    if run.member not in _LINEAR and "OMP_NUM_THREADS" in os.environ:
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if job == "predict":
        predict_fold(run, fold, splits, emit)
        return
    trainer = _find_code(run).train_fold(run, fold, emit)
    if trainer is not None and trainer.accelerator.num_processes > 1:
        # Tearing down a gloo group can wait for a thread that waits for Python's lock, for ever.
        # All is written and every process has come this far: just leave.
        sys.stdout.flush()
        os._exit(0)


def predict_fold(run: Run, fold: int, splits: Sequence[str], emit: Callable[[Event], None]) -> None:
    """Write one fold's probabilities of splits that have none yet."""
    model = _find_code(run).load_fold(run, fold)
    for split in splits:
        if run.fold_probs_file(fold, split).is_file():
            continue
        examples = run.read_split(split)

        def tell(done: int, split: str = split, n_rows: int = len(examples)) -> None:
            emit({"event": "rows", "split": split, "done": done, "rows": n_rows})

        probs = Probs(
            examples.ids, examples.languages, model.target_names, model.answer(examples, tell)
        )
        write_probs(run.fold_probs_file(fold, split), probs)
    emit({"event": "done", "fold": fold})


@contextmanager
def lock_fold(run: Run, fold: int) -> Iterator[Lease]:
    """Keep a second process off the fold: an orphan of a killed run may need a moment to end."""
    folder = run.fold_dir(fold)
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder, seconds=_LOCK_SECONDS), hold_lease(run.state_file(fold)) as lease:
        remove_leftovers(folder)
        yield lease


class Emitter:
    """Prints events as JSON lines from the main process, steps at most twice a second."""

    def __init__(self, fold: int) -> None:
        """Name the fold that every line tells of."""
        self.fold = fold
        self.last = 0.0
        self.lease: Lease | None = None

    def __call__(self, event: Event) -> None:
        """Print one event, unless it is a step too soon after the last."""
        if int(os.environ.get("RANK", "0")) != 0:
            return
        now = time.monotonic()
        if event["event"] in ("step", "rows") and now - self.last < _EVENT_SECONDS:
            return
        self.last = now
        if self.lease is not None:
            self.lease.note(event)
        with suppress(BrokenPipeError):  # the parent is gone, which the end of stdin says, too
            sys.stdout.write(json.dumps({"fold": self.fold, **event}) + "\n")
            sys.stdout.flush()


def read_trackers(text: str) -> tuple[str, ...]:
    """The trackers that a person names, with commas between them.

    Raises:
        KitError: one is unknown, or its package is not installed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in _PACKAGES:
            raise KitError(f"--report-to {name}: unknown. Choose from {', '.join(_PACKAGES)}.")
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise KitError(f"--report-to {name}: not installed. Install it: pip install {name}")
    return names


@contextmanager
def tracking(
    run: Run, fold: int, emit: Callable[[Event], None]
) -> Iterator[Callable[[Event], None]]:
    """Give an `emit` that also tells the trackers of every epoch.

    A tracker that fails later is left out with a note: training goes on.

    Raises:
        KitError: a tracker is missing, or cannot begin.
    """
    trackers = [_begin(name, run, fold) for name in read_trackers(os.environ.get(REPORT_TO, ""))]

    def tell(event: Event) -> None:
        emit(event)
        if event["event"] != "epoch":
            return
        measures = {
            key: value
            for key, value in event.items()
            if key not in _NO_MEASURE and isinstance(value, int | float)
        }
        for tracker in list(trackers):
            try:
                tracker.log(measures, step=event["epoch"])
            except Exception as error:
                trackers.remove(tracker)
                emit({"event": "note", "text": f"{tracker.name} is left out from here on: {error}"})

    try:
        yield tell
    finally:
        for tracker in trackers:
            tracker.finish()


def _find_code(run: Run) -> Any:
    """The module that trains and loads folds of the run's member."""
    return import_module(f"semeval_kit.training.{'linear' if run.member in _LINEAR else 'fold'}")


def _end_with_parent() -> None:
    """Leave when stdin closes: the parent holds its other end for as long as it lives."""

    def wait() -> None:
        while os.read(0, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds(_ORPHAN_SECONDS))
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _begin(name: str, run: Run, fold: int) -> Any:
    from accelerate.state import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # trackers ask it which process is the main one
    model = run.name_model(fold).replace(" ", "-")
    title = f"{run.name}-{model}"
    choices: dict[str, dict[str, Any]] = {
        "wandb": {"name": title, "group": run.name, "id": title, "resume": "allow"},
        "trackio": {"name": title, "group": run.name, "resume": "allow"},
        "mlflow": {"run_name": title, "tags": {"group": run.name}},
        "tensorboard": {"logging_dir": str(run.path / "trackers")},
    }
    project = model if name == "tensorboard" else run.task.name
    recipe = {key: value for key, value in run.recipe.items() if value is not None}
    try:
        tracker = LOGGER_TYPE_TO_CLASS[name](project, **choices[name])
        tracker.start()
        if name != "tensorboard":  # whose table of settings is a run of its own
            tracker.store_init_configuration({**recipe, "fold": fold})
    except Exception as error:
        raise KitError(
            f"--report-to {name}: cannot begin ({error}). Mend it, or leave it out."
        ) from error
    return tracker


if __name__ == "__main__":
    main()
