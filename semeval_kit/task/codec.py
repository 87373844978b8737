"""Targets: labels as cells, as numbers, and as the columns that are learnt.

The only place that knows what a kind means for them. An intensity y becomes the events y >= 1,
y >= 2, ...; a regression's numbers become shares of its range; all other labels stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.task.schema import Kind, Layout, Target

if TYPE_CHECKING:
    from semeval_kit.task.task import Task

LAYOUTS: dict[Kind, tuple[Layout, ...]] = {
    "multilabel": ("columns", "joined", "scoped"),
    "singlelabel": ("name",),
    "intensity": ("columns",),
    "regression": ("columns",),
    "distribution": ("columns",),
}
"""How labels of a kind may be written in a file."""
SUM_TOLERANCE = 0.01
_WHOLE = re.compile(r"([0-9]+)(\.0+)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_SCOPE_MARK = "_"


def target_names(task: Task) -> tuple[str, ...]:
    """Names of the encoded columns of all targets, `(n_targets,)`, in the order of the targets.

    They are the labels, or for intensity `anger>=1`, `anger>=2`, ..., label-major.
    """
    return tuple(name for target in task.targets for name in column_names(target))


def column_names(target: Target) -> tuple[str, ...]:
    """Names of the encoded columns of one target."""
    if target.kind != "intensity":
        return target.label_names
    levels = range(1, target.max_intensity + 1)
    return tuple(f"{label}>={level}" for label in target.label_names for level in levels)


def encode_labels(task: Task, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Labels `(n_examples, n_labels)` to targets `(n_examples, n_targets)`, NaN kept."""
    slices = task.label_slices
    parts = [encode_target(target, labels[:, slices[target.name]]) for target in task.targets]
    return np.concatenate(parts, axis=1)


def encode_target(target: Target, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The labels of one target `(n_examples, n_labels)` to its encoded columns, NaN kept."""
    if target.kind == "intensity":
        levels = np.arange(1, target.max_intensity + 1)
        events = (labels[:, :, None] >= levels).astype(np.float64)
        events[np.isnan(labels)] = np.nan
        return events.reshape(len(labels), -1)
    if target.kind == "regression":
        low, high = target.limits
        return (labels - low) / (high - low)
    return labels.astype(np.float64)


def decode_targets(target: Target, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Encoded columns of one target, or answers in their shape, to labels: undoes the encoding.

    Events of an intensity are summed; shares of a range become numbers, within the range if the
    target is bounded.
    """
    if target.kind == "intensity":
        by_label = columns.reshape(len(columns), -1, target.max_intensity)
        return np.asarray(by_label.sum(axis=2), dtype=np.float64)
    if target.kind == "regression":
        low, high = target.limits
        numbers = low + columns * (high - low)
        return np.clip(numbers, low, high) if target.bounded else numbers
    return columns


def settle_scopes(target: Target, probs: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[Any]:
    """Give each row of the layout scoped that has a label one scope and a member at least.

    Args:
        target: any; labels of other layouts come back as they are.
        probs: `(n_examples, n_labels)`: the likeliest scope, and member, is taken.
        labels: `(n_examples, n_labels)` of 0 and 1.
    """
    if target.layout != "scoped":
        return labels
    settled = labels.copy()
    is_scope = np.array([label in target.scopes for label in target.labels], dtype=bool)
    for row in np.flatnonzero(labels.any(axis=1)):
        likeliest = np.argmax(np.where(is_scope, probs[row], -np.inf))
        settled[row, is_scope] = 0
        settled[row, likeliest] = 1
        if not settled[row, ~is_scope].any():
            settled[row, np.argmax(np.where(is_scope, -np.inf, probs[row]))] = 1
    return settled


def read_value(target: Target, cell: str) -> float | None:
    """The value of a cell of the layout columns; None if it is none of this target's."""
    if target.is_numeric:
        low, high = target.limits
        value = read_number(target, cell)
        return value if low <= value <= high else None
    text = target.values.get(cell.strip(), cell.strip())
    whole = _WHOLE.fullmatch(text)
    if not whole or int(whole.group(1)) > target.file_max_value:
        return None
    return float(int(whole.group(1)))


def read_number(target: Target, cell: str) -> float:
    """The number of a cell, within the target's range or not; NaN if it is none."""
    text = target.values.get(cell.strip(), cell.strip())
    return float(text) if _NUMBER.fullmatch(text) else float("nan")


def describe_values(target: Target) -> str:
    """What `read_value` accepts, in words."""
    if target.is_numeric:
        return "a number from {:g} to {:g}".format(*target.limits)
    largest = target.file_max_value
    return "0 or 1" if largest == 1 else f"a whole number from 0 to {largest}"


def split_names(target: Target, cell: str) -> list[str]:
    """The label names in a cell of the layouts name, joined and scoped, other spellings mapped."""
    cell = cell.strip()
    if target.layout != "name" and cell == target.none_word and cell not in target.labels:
        return []
    names = [cell]
    if target.layout == "scoped":
        scope, mark, members = cell.partition(_SCOPE_MARK)
        names = [scope, *members.split(target.joiner)] if mark else [cell]
    elif target.layout == "joined":
        names = cell.split(target.joiner)
    return [target.values.get(name.strip(), name.strip()) for name in names]


def spell_labels(
    target: Target, labels: Sequence[float] | NDArray[np.float64], number_format: str = "{}"
) -> tuple[str, ...]:
    """The cells of one row's labels `(n_labels,)`: one per label in the layout columns, else one.

    Args:
        target: whose labels, in its order.
        labels: whole numbers, or real ones for regression and distribution.
        number_format: of the real ones, such as "{:.2f}".
    """
    if target.layout == "columns":
        if target.is_numeric:
            return tuple(number_format.format(float(value)) for value in labels)
        return tuple(str(int(value)) for value in labels)
    names = [name for name, value in zip(target.labels, labels, strict=True) if value > 0]
    if target.layout == "scoped" and names:
        scopes = [name for name in names if name in target.scopes]
        members = [name for name in names if name not in target.scopes]
        return (_SCOPE_MARK.join([*scopes[:1], target.joiner.join(members)]),)
    return (target.joiner.join(names) if names else target.none_word,)
