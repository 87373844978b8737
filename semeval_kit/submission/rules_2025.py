"""The rules of 2025: what the organisers' checker script accepts, line by line without CSV.

Read in `utils.py` of SemEval2025-Task11-Evaluation and written anew. It knows no quotes and no
byte order mark; where it would end with a traceback, the submission counts as rejected here.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Reference
from semeval_kit.submission import metrics
from semeval_kit.submission.rules_2026 import Rejected

_A_COLUMNS = 7
"""Tracks A and C read at most seven label cells of a row."""


def read_predictions(
    data: bytes, name: str, reference: Reference, *, intensity: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions of the reference's rows that count, and predictions (n_rows, n_labels) for them.

    Under tracks A and C rows that lack a prediction silently do not count; in track B a row with a
    cell that is no integer counts as zeros.

    Raises:
        Rejected: the checker exits or crashes.
    """
    lines = _read_lines(data, name)
    expected = ["id", *reference.labels]
    header = lines[0].split(",")
    if [cell.lower() for cell in header] != [cell.lower() for cell in expected]:
        raise Rejected(f"{name}: invalid submission header: {header}. Expected {expected}.")
    if len(lines) != len(reference.ids) + 1:
        raise Rejected(f"{name}: predictions and gold data have different number of lines.")
    rows: dict[str, list[list[int]]] = {row_id: [] for row_id in reference.ids}
    width = len(reference.labels)
    for line in lines[1:]:
        row_id, *cells = line.split(",")
        if row_id not in rows:
            raise Rejected(f"{name}: invalid tweet id: {row_id} found in predictions.")
        rows[row_id].append(_read_cells(cells, width if intensity else _A_COLUMNS))
    if intensity:
        counted = {row_id: found[0] for row_id, found in rows.items() if found}
        if len(counted) < len(rows):
            raise Rejected(f"{name}: IndexError: an id has no prediction (another one is doubled).")
    else:
        counted = {row_id: found[0] for row_id, found in rows.items() if len(found) == 1}
    if not counted or any(len(cells) != width for cells in counted.values()):
        raise Rejected(f"{name}: the checker crashes: a row has no {width} whole numbers.")
    if not intensity and any(cell not in (0, 1) for cells in counted.values() for cell in cells):
        raise Rejected(f"{name}: the checker crashes: a value is neither 0 nor 1.")
    positions = [i for i, row_id in enumerate(reference.ids) if row_id in counted]
    preds = [counted[reference.ids[i]] for i in positions]
    try:
        return np.array(positions, dtype=np.int64), np.array(preds, dtype=np.float64)
    except OverflowError as error:
        raise Rejected(f"{name}: the checker crashes: {error}.") from None


def _read_lines(data: bytes, name: str) -> list[str]:
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise Rejected(f"{name}: {error}") from None
    lines = text.splitlines()
    if not lines:
        raise Rejected(f"{name}: IndexError: the file is empty.")
    return lines


def _read_cells(cells: list[str], width: int) -> list[int]:
    try:
        return [int(cell) for cell in cells[:width]]
    except ValueError:
        return [0] * width


def _macro_f1(gold: NDArray[Any], preds: NDArray[Any]) -> float:
    values = [counts.f1_of_counts for counts in metrics.count_labels(gold, preds)]
    return round(float(np.mean(values)), 4)


def _micro_f1(gold: NDArray[Any], preds: NDArray[Any]) -> float:
    return round(metrics.pool_counts(metrics.count_labels(gold, preds)).f1_of_counts, 4)


def _pearson_r(gold: NDArray[Any], preds: NDArray[Any]) -> float:
    values = []
    for mine, theirs in zip(gold.T, preds.T, strict=True):
        constant = len(set(mine.tolist())) == 1 or len(set(theirs.tolist())) == 1
        r = math.nan if constant else metrics.pearson(mine.tolist(), theirs.tolist())
        values.append(round(r, 4))
    return round(sum(values) / len(values), 4)


METRICS: dict[str, Callable[[NDArray[Any], NDArray[Any]], float]] = {
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "pearson_r": _pearson_r,
}
"""As the checker of 2025: each value rounded at 4 decimals, a constant column gives NaN."""
