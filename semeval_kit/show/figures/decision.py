"""Pictures of decisions: F1 against threshold, calibration, and what is taken for what."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.decision.oof import FloatArray, IntArray, index_groups
from semeval_kit.decision.tallies import draw_counts
from semeval_kit.show.figures.charts import (
    BAND_ALPHA,
    BLUE,
    FAINT,
    VERMILION,
    break_name,
    fill_cells,
    grid_panels,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_Z95 = 1.959964
_N_CUTS = 99


@dataclass(frozen=True)
class F1Curve:
    """F1 of one target at thresholds from 0.01 to 0.99.

    Attributes:
        cuts: thresholds `(T,)`.
        f1: `(T,)`.
        low: 2.5% quantile of the bootstrap `(T,)`.
    """

    cuts: FloatArray
    f1: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Calibration:
    """Probability against frequency of one target, in bins of about equally many rows.

    Attributes:
        means: mean probability of each bin.
        rates: share of positives of each bin.
        low: lower end of the 95% interval of the share (Wilson 1927).
        error: expected calibration error: mean |rate - mean|, weighted by rows.
    """

    means: FloatArray
    rates: FloatArray
    low: FloatArray
    high: FloatArray
    error: float


@styled
def draw_f1_thresholds(
    names: Sequence[str],
    probs: FloatArray,
    targets: FloatArray,
    thresholds: FloatArray,
    *,
    groups: Sequence[Hashable] | None = None,
) -> Figure:
    """F1 against threshold per target, with a 95% bootstrap band and the chosen threshold.

    Of C targets: probs and targets `(n_examples, C)` of 0, 1 and NaN, thresholds `(C,)`, NaN for
    none. Rows of one of the `groups` are drawn together.
    """
    curves = [
        trace_f1(probs[:, place], targets[:, place], groups=groups) for place in range(len(names))
    ]
    figure, panels = _panels(len(names))
    for axes, name, curve, cut in zip(panels, names, curves, thresholds, strict=True):
        axes.fill_between(
            curve.cuts, curve.low, curve.high, color=BLUE, alpha=BAND_ALPHA, linewidth=0
        )
        axes.plot(curve.cuts, curve.f1, color=BLUE)
        axes.axvline(0.5, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        _name_panel(axes, name, "" if np.isnan(cut) else f"{cut:.2f}", len(names))
        if not np.isnan(cut):
            axes.axvline(cut, color=VERMILION, linewidth=1.4)
            axes.plot(cut, np.interp(cut, curve.cuts, curve.f1), "o", color=VERMILION)
    figure.supxlabel("threshold (probability)", fontsize=9)
    figure.supylabel("F1 (0 to 1)", fontsize=9)
    _add_legend(
        figure,
        [("F1", BLUE, "-", 1.6), ("chosen", VERMILION, "-", 1.4), ("0.5", FAINT, "--", 0.8)],
        band="95% bootstrap",
    )
    return figure


@styled
def draw_calibration(names: Sequence[str], probs: FloatArray, targets: FloatArray) -> Figure:
    """Reliability curves: share of positives against mean probability, per target.

    Of C targets: probs and targets `(n_examples, C)`, the latter of 0, 1 and NaN.
    """
    figure, panels = _panels(len(names))
    for axes, name, place in zip(panels, names, range(len(names)), strict=True):
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        curve = calibrate(probs[:, place], targets[:, place])
        spread = np.maximum(0, [curve.rates - curve.low, curve.high - curve.rates])
        axes.errorbar(
            curve.means,
            curve.rates,
            spread,
            color=BLUE,
            marker="o",
            markersize=3,
            elinewidth=0.9,
            clip_on=False,
        )
        _name_panel(axes, name, f"ECE {curve.error:.2f}", len(names))
    figure.supxlabel("mean probability in a bin (0 to 1)", fontsize=9)
    figure.supylabel("share of positives (0 to 1)", fontsize=9)
    _add_legend(figure, [("bins, 95% interval", BLUE, "-", 1.6), ("perfect", FAINT, "--", 0.8)])
    return figure


@styled
def draw_scatter(names: Sequence[str], gold: FloatArray, preds: FloatArray) -> Figure:
    """Predicted against gold numbers, a panel for each.

    Both `(n_examples, L)`; gold is NaN where not annotated.
    """
    figure, panels = _panels(len(names))
    for place, (axes, name) in enumerate(zip(panels, names, strict=True)):
        both = np.concatenate([gold[:, place], preds[:, place]])
        ends = [float(np.nanmin(both)), float(np.nanmax(both))]
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(ends, [f"{end:.3g}" for end in ends])
            axis.set_tick_params(labelbottom=True, labelleft=True)
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.plot(gold[:, place], preds[:, place], ".", color=BLUE, markersize=3, alpha=0.5)
        _name_panel(axes, name, "", len(names))
    figure.supxlabel("gold", fontsize=9)
    figure.supylabel("predicted", fontsize=9)
    return figure


def trace_f1(
    scores: FloatArray,
    gold: FloatArray,
    *,
    groups: Sequence[Hashable] | None = None,
    n_draws: int = 200,
    seed: int = 0,
) -> F1Curve:
    """F1 of one target at 99 thresholds, and its bootstrap; 0 where nothing is found.

    Scores and gold are `(n,)`; rows whose gold is NaN are left out, those of one of the `groups`
    are drawn together.
    """
    annotated = ~np.isnan(gold)
    cuts = np.arange(1, _N_CUTS + 1) / (_N_CUTS + 1)
    if not annotated.any():
        blank = np.full(len(cuts), np.nan)
        return F1Curve(cuts, blank, blank, blank)
    kept = None if groups is None else [g for g, k in zip(groups, annotated, strict=True) if k]
    units = index_groups(int(annotated.sum()), kept)
    draws = draw_counts(n_draws, units, np.random.default_rng(seed)).astype(np.float64)
    weights = np.vstack([np.ones(len(units)), draws])
    # A row is called positive by every cut up to its score: count rows per step, then sum up.
    steps = np.searchsorted(cuts, scores[annotated], side="right")
    called = _sum_steps(weights, steps, len(cuts))
    hits = _sum_steps(weights * gold[annotated], steps, len(cuts))
    positives = (weights * gold[annotated]).sum(axis=1, keepdims=True)
    f1 = 2 * hits / np.maximum(called + positives, 1)
    low, high = np.quantile(f1[1:], [0.025, 0.975], axis=0)
    return F1Curve(cuts, f1[0], low, high)


def calibrate(scores: FloatArray, gold: FloatArray, n_bins: int = 10) -> Calibration:
    """Bin the rows of one target by probability and compare with the share of positives.

    Scores and gold are `(n,)`; rows whose gold is NaN are left out. There are at least 20 rows in a
    bin, and `n_bins` at most.
    """
    annotated = ~np.isnan(gold)
    order = np.argsort(scores[annotated], kind="stable")
    n_bins = max(1, min(n_bins, len(order) // 20))
    bins = [part for part in np.array_split(order, n_bins) if len(part)]
    sizes = np.array([len(part) for part in bins], dtype=np.float64)
    means = np.array([scores[annotated][part].mean() for part in bins])
    rates = np.array([gold[annotated][part].mean() for part in bins])
    spread = 1 + _Z95**2 / sizes
    middle = (rates + _Z95**2 / (2 * sizes)) / spread
    half = _Z95 * np.sqrt(rates * (1 - rates) / sizes + _Z95**2 / (4 * sizes**2)) / spread
    error = float(np.average(np.abs(rates - means), weights=sizes)) if len(bins) else float("nan")
    return Calibration(means, rates, middle - half, middle + half, error)


def _sum_steps(weights: FloatArray, steps: IntArray, n_cuts: int) -> FloatArray:
    counts = np.stack([np.bincount(steps, row, minlength=n_cuts + 1) for row in weights])
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:].astype(np.float64)


def _panels(n_panels: int) -> tuple[Figure, list[Axes]]:
    columns = _count_columns(n_panels)
    figure, panels = grid_panels(n_panels, columns, 1.7 if columns == 2 else 1.5)
    for place, axes in enumerate(panels):
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.tick_params(labelbottom=place + columns >= n_panels, labelleft=place % columns == 0)
    return figure, panels


def _count_columns(n_panels: int) -> int:
    return 2 if n_panels <= 8 else 3


def _name_panel(axes: Axes, name: str, value: str, n_panels: int) -> None:
    narrow = _count_columns(n_panels) == 3
    shown = break_name(name, 14 if narrow else 18)
    long = len(shown.split("\n")[-1]) + len(value) > 20
    between = "" if not value else "\n" if narrow or long else ": "
    axes.set_title(shown + between + value)


def _add_legend(
    figure: Figure, lines: Sequence[tuple[str, str, Any, float]], band: str = ""
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colour, linestyle=style, linewidth=width, label=name)
        for name, colour, style, width in lines
    ]
    if band:
        handles.insert(1, Patch(color=BLUE, alpha=BAND_ALPHA, linewidth=0, label=band))
    figure.legend(handles=handles, loc="outside upper left", ncols=4)


@styled
def draw_confusions(
    labels: Sequence[str], gold: FloatArray, preds: IntArray, n_levels: int = 1
) -> Figure:
    """One matrix per label, gold in rows and predicted in columns: counts and row percentages.

    With one level that is the 2x2 matrix of absent and present, with more one row and column per
    intensity.

    Gold and preds are levels `(n_examples, L)` up to `n_levels`; gold is NaN where not annotated.
    """
    columns = 2 if n_levels > 1 or len(labels) <= 4 else 3
    figure, panels = grid_panels(len(labels), columns, 2.0 if n_levels > 1 else 1.5)
    names = ["no", "yes"] if n_levels == 1 else [str(level) for level in range(n_levels + 1)]
    for place, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        annotated = ~np.isnan(gold[:, place])
        counts = count_pairs(gold[annotated, place], preds[annotated, place], n_levels + 1)
        shares = _share_rows(counts)
        fill_cells(axes, shares, _write_counts(counts, shares), 8 if n_levels == 1 else 7)
        ticks = np.arange(n_levels + 1) + 0.5
        axes.set_xticks(ticks, names)
        axes.set_yticks(ticks, names if place % columns == 0 else [""] * len(names))
        axes.set_title(break_name(label, 16 if columns == 3 else 24))
    figure.supxlabel("predicted", fontsize=9)
    figure.supylabel("gold (% of its row)", fontsize=9)
    return figure


def share_cooccurrence_confusion(
    gold: FloatArray, preds: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Of the examples with a gold label, the share predicted as another, and how many there are.

    The diagonal is recall. The last row and column are the examples without any label.

    Gold and preds are labels `(n_examples, L)`, present above 0; gold is NaN where not annotated.

    Returns:
        Shares `(L + 1, L + 1)`, NaN where nothing was asked; and counts `(L + 1,)`.
    """
    is_gold = np.column_stack([gold > 0, ~(gold > 0).any(axis=1)]).astype(np.float64)
    is_pred = np.column_stack([preds > 0, ~(preds > 0).any(axis=1)]).astype(np.float64)
    # A prediction counts only where its label is annotated; "none" is known everywhere.
    annotated = np.column_stack([~np.isnan(gold), np.ones(len(gold))]).astype(np.float64)
    asked = is_gold.T @ annotated
    shares = np.where(asked > 0, (is_gold.T @ (is_pred * annotated)) / np.maximum(asked, 1), np.nan)
    return shares, is_gold.sum(axis=0)


def share_class_confusion(
    gold: IntArray, preds: IntArray, n_classes: int
) -> tuple[FloatArray, FloatArray]:
    """Confusion of a single-label task: shares `(L, L)` of each gold class, and counts `(L,)`.

    Gold and preds are classes `(n_examples,)`.
    """
    counts = count_pairs(gold, preds, n_classes)
    return _share_rows(counts), counts.sum(axis=1)


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
