"""Targets: labels as the columns that are learnt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semeval_kit.task.task import Task


def target_names(task: Task) -> tuple[str, ...]:
    """Names of the target columns: the labels, or for intensity `anger>=1`, `anger>=2`, ...

    Cumulative events are label-major, so that n_targets = n_labels * max_intensity.
    """
    if task.kind != "intensity":
        return task.all_labels
    levels = range(1, task.max_intensity + 1)
    return tuple(f"{label}>={level}" for label in task.all_labels for level in levels)


def encode_labels(task: Task, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Labels (n_examples, n_labels) to targets (n_examples, n_targets) of 0 and 1, NaN kept.

    Multilabel and one-hot labels stay as they are; an intensity y becomes y >= 1, y >= 2, ...
    """
    if task.kind != "intensity":
        return labels.astype(np.float64)
    levels = np.arange(1, task.max_intensity + 1)
    events = (labels[:, :, None] >= levels).astype(np.float64)
    events[np.isnan(labels)] = np.nan
    return events.reshape(len(labels), -1)
