"""Measuring: the task's metrics of the answers of one language, beside its gold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.data.reference import Reference
from semeval_kit.data.texts import number_groups
from semeval_kit.submission import metrics
from semeval_kit.submission.archive import slice_answers
from semeval_kit.submission.metrics import Beside
from semeval_kit.task.metric_facts import METRIC_FACTS
from semeval_kit.task.schema import Target
from semeval_kit.task.task import Task


def measure_answers(
    task: Task, reference: Reference, preds: NDArray[Any], gold: NDArray[Any]
) -> dict[str, float]:
    """The task's metrics of the answers of one language.

    With several targets each has its own, named `target_metric`, and each metric of
    `scoring.metrics` is the mean over the targets that have it. Excluded labels leave F1, precision
    and recall; whole rows are compared as they are.

    Args:
        task: metrics, targets and what they need.
        reference: groups and columns that metrics need.
        preds: `(n_examples, n_labels)`, NaN where a target is left out.
        gold: the same shape, NaN where not annotated.
    """
    beside = find_beside(task, reference)
    main = task.main_targets
    values: dict[str, float] = {}
    slices = slice_answers(task, reference.labels)
    for target in main:
        columns = slices[target.name]
        scored = np.array(task.scoring.counted(reference.labels[columns]))
        if np.isnan(preds[:, columns]).all():
            continue
        for name in task.metrics_of(target):
            if name in metrics.METRICS and not is_unmet(name, beside):
                key = name if len(main) == 1 else f"{target.name}_{name}"
                metric = metrics.find(name)
                rows = _group_rows(task, reference, len(gold))
                parts = [
                    metric(gold[r, columns], preds[r, columns], scored, beside.take(r))
                    for r in rows
                ]
                values[key] = sum(parts) / len(parts)
    if len(main) > 1:
        for name in task.scoring.metrics:
            keys = [k for k in (f"{target.name}_{name}" for target in main) if k in values]
            if keys:
                values[name] = sum(values[key] for key in keys) / len(keys)
    return values


def find_beside(task: Task, reference: Reference) -> Beside:
    """What metrics need of a gold file beside its labels, where it has that."""
    cells = reference.kept.get(task.scoring.reverse_column)
    reverse = None if cells is None else metrics.pair_rows(reference.ids, cells)
    return _gather(task, task.main_targets[0], reference, reverse)


def find_beside_rows(task: Task, target: Target, examples: Examples) -> Beside:
    """What metrics need of labelled rows of the task's own data, which may lack some of it."""
    reverse = None
    if task.rules.reversal and examples.pairs:
        keys = list(zip(examples.languages, number_groups(examples).tolist(), strict=True))
        reverse = metrics.pair_swapped(keys, examples.texts, examples.pairs)
    return _gather(task, target, examples, reverse)


def is_unmet(name: str, beside: Beside) -> bool:
    """Whether a metric lacks what it needs of the gold file."""
    needs = METRIC_FACTS[name].needs
    there = {"spread": beside.spreads, "reverse": beside.reverse, "groups": beside.groups}
    return needs in there and there[needs] is None


def _gather(
    task: Task, target: Target, rows: Reference | Examples, reverse: NDArray[np.int64] | None
) -> Beside:
    cells = rows.kept.get(task.scoring.spread_column)
    spreads = None if cells is None else np.array([_to_number(cell) for cell in cells])
    # Which label each label becomes when the texts are swapped, -1 for none.
    number = {label: place for place, label in enumerate(target.labels)}
    turned = tuple(number.get(task.rules.reversal.get(label, ""), -1) for label in target.labels)
    return Beside(spreads, reverse, turned, np.array(rows.groups) if rows.groups else None)


def _group_rows(task: Task, reference: Reference, n_rows: int) -> list[NDArray[np.intp]]:
    """The rows that each figure runs over: all, or those of each group."""
    if task.scoring.average == "rows" or not reference.groups:
        return [np.arange(n_rows)]
    groups = np.asarray(reference.groups)
    return [np.flatnonzero(groups == group) for group in dict.fromkeys(reference.groups)]


def _to_number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
