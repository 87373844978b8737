"""Pictures of the data: how frequent labels are, which occur together, how long texts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.figures.matrix import draw_matrix
from semeval_kit.show.figures.palette import (
    SERIES,
    SPLIT_COLOURS,
    break_name,
    new_figure,
    ramp,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]


@styled
def draw_label_distribution(labels: Sequence[str], values: Mapping[str, FloatArray]) -> Figure:
    """Bars: share of annotated examples that have a label, per split.

    Args:
        labels: L names.
        values: per split, labels `(n_examples, L)`; above 0 is present, NaN is not annotated.
    """
    n_bars = len(labels) * len(values)
    figure = new_figure(max(1.8, 0.19 * n_bars + 0.1 * len(labels) + 0.7))
    axes = figure.subplots()
    width = 0.82 / len(values)
    for place, (split, cells) in enumerate(values.items()):
        known = (~np.isnan(cells)).sum(axis=0)
        shares = 100 * (cells > 0).sum(axis=0) / np.maximum(known, 1)
        spots = np.arange(len(labels)) + (place - (len(values) - 1) / 2) * width
        colour = SPLIT_COLOURS.get(split, SERIES[3])
        bars = axes.barh(spots, shares, 0.92 * width, color=colour, label=split)
        names = ["n/a" if not k else f"{s:.0f}" for k, s in zip(known, shares, strict=True)]
        axes.bar_label(bars, names, padding=2, fontsize=8)
    axes.set_yticks(range(len(labels)), [break_name(label) for label in labels])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.margins(x=0.08, y=0.02)
    axes.set_xlabel("examples with the label (% of annotated)")
    if len(values) > 1:
        figure.legend(loc="outside upper left", ncols=3)
    return figure


@styled
def draw_level_distribution(labels: Sequence[str], values: FloatArray, n_levels: int) -> Figure:
    """Stacked bars: share of annotated examples at each intensity above 0.

    Args:
        labels: L names.
        values: levels `(n_examples, L)`, NaN where not annotated.
        n_levels: the highest level.
    """
    figure = new_figure(max(1.8, 0.3 * len(labels) + 1.0))
    axes = figure.subplots()
    left = np.zeros(len(labels))
    known = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    for level in range(1, n_levels + 1):
        shares = 100 * (values == level).sum(axis=0) / known
        colour = ramp()(0.25 + 0.65 * (level - 1) / max(1, n_levels - 1))
        axes.barh(range(len(labels)), shares, 0.7, left, color=colour, label=f"level {level}")
        left += shares
    axes.set_yticks(range(len(labels)), [break_name(label) for label in labels])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlabel("examples at the level (% of annotated)")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


@styled
def draw_cooccurrence(labels: Sequence[str], values: FloatArray) -> Figure:
    """Matrix: of the examples with the row's label, the percentage that also has the column's.

    Args:
        labels: L names.
        values: labels `(n_examples, L)`; above 0 is present.
    """
    present = (values > 0).astype(np.float64)
    both = present.T @ present
    shares = both / np.maximum(1.0, both.diagonal())[:, None]
    shares[both.diagonal() == 0] = np.nan
    return draw_matrix(
        shares,
        rows=labels,
        columns=labels,
        row_title="with the label (n)",
        column_title="also with the label (%)",
        counts=both.diagonal(),
    )


@styled
def draw_language_shares(
    languages: Sequence[str], labels: Sequence[str], shares: FloatArray
) -> Figure:
    """Matrix: percentage of a language's examples that have a label; blank if it lacks the label.

    Args:
        languages: G codes.
        labels: L names.
        shares: `(G, L)`, in 0..1, NaN where a language does not have the label.
    """
    return draw_matrix(
        shares,
        rows=languages,
        columns=labels,
        row_title="language",
        column_title="examples with the label (% of annotated)",
    )


@styled
def draw_text_lengths(lengths: Mapping[str, Sequence[int]]) -> Figure:
    """Histogram of text lengths in characters, per split; the longest 1% is left out.

    Args:
        lengths: per split, characters of each text.
    """
    figure = new_figure(2.8)
    axes = figure.subplots()
    pooled = np.concatenate([np.asarray(values) for values in lengths.values()])
    top = max(10.0, float(np.quantile(pooled, 0.99)))
    # As many bins as the smallest split can fill.
    n_bins = int(np.clip(1.5 * min(len(values) for values in lengths.values()) ** 0.5, 6, 32))
    edges = np.linspace(0, top, n_bins + 1)
    for split, values in lengths.items():
        counts, _ = np.histogram(values, edges)
        colour = SPLIT_COLOURS.get(split, SERIES[3])
        middle = float(np.median(values))
        axes.stairs(
            100 * counts / max(1, len(values)),
            edges,
            color=colour,
            linewidth=1.6,
            fill=False,
            label=f"{split} (median {middle:.0f})",
        )
        axes.axvline(middle, color=colour, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_xlim(0, top)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("length of a text (characters)")
    axes.set_ylabel("texts (%)")
    figure.legend(loc="outside upper left", ncols=3)
    return figure
