"""Experiment trackers through accelerate: a run for each fold, those of a run in one group."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run

Event = dict[str, Any]
REPORT_TO = "SEMEVAL_KIT_REPORT_TO"
"""The environment variable by which the processes of folds know the trackers."""
_PACKAGES = {
    "wandb": ("wandb",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "mlflow": ("mlflow",),
}
TRACKERS = tuple(_PACKAGES)
# Of an epoch's event, what is no measure.
_NO_MEASURE = {"event", "fold", "epoch"}


def read_trackers(text: str) -> tuple[str, ...]:
    """The trackers that a person names, with commas between them.

    Raises:
        KitError: one is unknown, or its package is not installed.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in _PACKAGES:
            raise KitError(f"--report-to {name}: unknown. Choose from {', '.join(TRACKERS)}.")
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
