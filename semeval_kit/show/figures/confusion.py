"""Pictures of mistakes: confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.figures.matrix import draw_matrix, fill_cells
from semeval_kit.show.figures.palette import (
    break_name,
    grid_panels,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@styled
def draw_confusions(
    labels: Sequence[str], gold: FloatArray, preds: IntArray, n_levels: int = 1
) -> Figure:
    """One matrix per label, gold in rows and predicted in columns: counts and row percentages.

    With one level that is the 2x2 matrix of absent and present, with more one row and column per
    intensity.

    Args:
        labels: L names.
        gold: levels `(n_examples, L)`, NaN where not annotated.
        preds: levels `(n_examples, L)`.
        n_levels: the highest level.
    """
    columns = 2 if n_levels > 1 or len(labels) <= 4 else 3
    figure, panels = grid_panels(len(labels), columns, 2.0 if n_levels > 1 else 1.5)
    names = ["no", "yes"] if n_levels == 1 else [str(level) for level in range(n_levels + 1)]
    for place, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        known = ~np.isnan(gold[:, place])
        counts = count_pairs(gold[known, place], preds[known, place], n_levels + 1)
        shares = _share_rows(counts)
        fill_cells(axes, shares, _write_counts(counts, shares), 8 if n_levels == 1 else 7)
        ticks = np.arange(n_levels + 1) + 0.5
        axes.set_xticks(ticks, names)
        axes.set_yticks(ticks, names if place % columns == 0 else [""] * len(names))
        axes.set_title(break_name(label, 16 if columns == 3 else 24))
    figure.supxlabel("predicted", fontsize=9)
    figure.supylabel("gold (% of its row)", fontsize=9)
    return figure


@styled
def draw_cooccurrence_confusion(labels: Sequence[str], gold: FloatArray, preds: IntArray) -> Figure:
    """Matrix: of the examples with the row's gold label, the percentage predicted as the column's.

    The diagonal is recall. The last row and column are the examples without any label.

    Args:
        labels: L names.
        gold: labels `(n_examples, L)`; above 0 is present, NaN is not annotated.
        preds: labels `(n_examples, L)`.
    """
    is_gold = np.column_stack([gold > 0, ~(gold > 0).any(axis=1)]).astype(np.float64)
    is_pred = np.column_stack([preds > 0, ~(preds > 0).any(axis=1)]).astype(np.float64)
    # A prediction counts only where its label is annotated; "none" is known everywhere.
    known = np.column_stack([~np.isnan(gold), np.ones(len(gold))]).astype(np.float64)
    asked = is_gold.T @ known
    shares = np.where(asked > 0, (is_gold.T @ (is_pred * known)) / np.maximum(asked, 1), np.nan)
    names = [*labels, "none"]
    return draw_matrix(
        shares, names, names, "gold label (n)", "also predicted (%)", counts=is_gold.sum(axis=0)
    )


@styled
def draw_class_confusion(labels: Sequence[str], gold: IntArray, preds: IntArray) -> Figure:
    """Confusion matrix of a single-label task: percentage of each gold class.

    Args:
        labels: L names.
        gold: classes `(n_examples,)`.
        preds: classes `(n_examples,)`.
    """
    counts = count_pairs(gold, preds, len(labels))
    return draw_matrix(
        _share_rows(counts), labels, labels, "gold (n)", "predicted (%)", counts=counts.sum(axis=1)
    )


def count_pairs(gold: NDArray[Any], preds: NDArray[Any], n_values: int) -> FloatArray:
    """Count (gold, predicted) pairs of values 0..n_values-1, `(n_values, n_values)`."""
    counts = np.zeros((n_values, n_values))
    np.add.at(counts, (gold.astype(np.int64), preds.astype(np.int64)), 1)
    return counts


def _share_rows(counts: FloatArray) -> FloatArray:
    total = counts.sum(axis=1, keepdims=True)
    shares: FloatArray = np.where(total > 0, counts / np.maximum(total, 1), np.nan)
    return shares


def _write_counts(counts: FloatArray, shares: FloatArray) -> list[list[str]]:
    return [
        [
            "0" if n == 0 else f"{int(n)}\n{100 * share:.0f}%"
            for n, share in zip(row, row_shares, strict=True)
        ]
        for row, row_shares in zip(counts, shares, strict=True)
    ]
