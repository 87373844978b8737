"""Charts that several pictures are made of: panels, matrices, strongest pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.figures.palette import (
    BLUE,
    FAINT,
    PAPER,
    WIDTH,
    break_name,
    new_figure,
    ramp,
    styled,
    writing_on,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

MOST_NUMBERED = 14
"""Columns of a matrix, at most, whose cells have room for their numbers."""
MOST_PAIRS = 15

# Inches that a character of the small type takes, generously.
_CHARACTER = 0.075
_MARGIN = 0.75
_TWO_LINES = 0.34


def grid_panels(
    n_panels: int, columns: int = 2, height: float = 1.8, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of small panels, row by row; places that no panel needs are removed.

    Args:
        n_panels: at least 1.
        columns: panels beside each other, at most.
        height: inches of one row.
        **kwargs: for matplotlib's `subplots`, such as `sharex=True`.
    """
    columns = min(columns, n_panels)
    rows = -(-n_panels // columns)
    figure = new_figure(height * rows + 0.5)
    # A lone panel keeps the form of a picture rather than of a strip.
    if n_panels == 1:
        figure.set_size_inches(WIDTH, max(2.8, height + 0.5))
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    flat = [axes[row, column] for row in range(rows) for column in range(columns)]
    for spare in flat[n_panels:]:
        spare.remove()
    return figure, flat[:n_panels]


@styled
def draw_matrix(
    shares: FloatArray,
    rows: Sequence[str],
    columns: Sequence[str],
    titles: tuple[str, str],
    counts: Sequence[float] | FloatArray | None = None,
) -> Figure:
    """One matrix as a figure, as high as its cells need.

    Up to MOST_NUMBERED columns have percentages on their cells; more are colours with a scale.

    Args:
        shares: `(R, C)` in 0..1, NaN for a blank cell.
        rows: R names.
        columns: C names.
        titles: what the rows are, and what the columns are with the unit of the cells.
        counts: `(R,)`, what to add to the rows' names.
    """
    numbered = len(columns) <= MOST_NUMBERED
    names = [break_name(row, 16, 2 if numbered else 1) for row in rows]
    if counts is not None:
        names = [f"{name} ({int(n)})" for name, n in zip(names, counts, strict=True)]
    longest = max(len(line) for name in names for line in name.split("\n"))
    small = 1.0 if numbered else 0.75
    cell = (WIDTH - _MARGIN - _CHARACTER * small * longest) / len(columns)
    flat = _fits(columns, cell)
    # Upright words need the width of their lines: a narrow cell has room for one.
    one_line = not flat and cell < _TWO_LINES
    heads = [break_name(column, 22, 1) if one_line else break_name(column) for column in columns]
    deep = 2 if flat else max(len(line) for head in heads for line in head.split("\n")) * small
    n_lines = max(sum(name.count("\n") + 1 for name in names) / len(names), 1.0)
    high = min(max(cell, 0.19 * small * n_lines), 0.5 if len(rows) <= 6 else 0.36)
    scale = 0.0 if numbered else 0.6
    figure = new_figure(max(high * len(rows), 1.2) + _CHARACTER * deep + _MARGIN + scale)
    axes = figure.subplots()
    # Three digits are about two letters wide.
    size = float(np.clip(72 * cell / 2.1, 5, 8))
    fill_cells(axes, shares, size=size if numbered else 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names, fontsize=8 if numbered else 6)
    axes.set_xticks(
        np.arange(len(columns)) + 0.5,
        heads,
        rotation=0 if flat else 90,
        fontsize=8 if numbered else float(np.clip(62 * cell, 4, 6)),
    )
    axes.set_ylabel(titles[0])
    axes.set_xlabel(titles[1])
    if not numbered:
        bar = figure.colorbar(axes.collections[0], ax=axes, location="bottom", aspect=40, pad=0.02)
        bar.set_ticks([0, 0.5, 1], labels=["0", "50", "100 %"])
        bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def fill_cells(
    axes: Axes, shares: FloatArray, words: Sequence[Sequence[str]] | None = None, size: float = 8
) -> None:
    """Colour the cells of axes by their share and write on them; the first row is on top.

    Args:
        axes: an empty panel.
        shares: `(R, C)` in 0..1, NaN for a blank cell.
        words: what to write on the cells; percentages if left out.
        size: of the writing, in points; 0 for none.
    """
    # One rectangle per cell rather than an image: sharp at every size, and no embedded picture.
    colours = ramp()
    axes.pcolormesh(
        np.ma.masked_invalid(shares), vmin=0, vmax=1, cmap=colours, edgecolors=PAPER, linewidth=1
    )
    for row, column in np.ndindex(*shares.shape if size else (0, 0)):
        share = shares[row, column]
        blank = np.isnan(share)
        axes.text(
            column + 0.5,
            row + 0.5,
            ("–" if blank else f"{100 * share:.0f}") if words is None else words[row][column],
            ha="center",
            va="center",
            fontsize=size,
            color=FAINT if blank else writing_on(colours(float(share))),
        )
    axes.set_ylim(shares.shape[0], 0)
    axes.set_xlim(0, shares.shape[1])
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@styled
def draw_pairs(shares: FloatArray, names: Sequence[str], counts: FloatArray, title: str) -> Figure:
    """Bars: the pairs of different labels with the most examples, for matrices without numbers.

    Args:
        shares: `(L, L)` in 0..1, of the row's examples; NaN for a blank cell.
        names: L labels.
        counts: `(L,)`, examples of the rows.
        title: of the axis.
    """
    examples = np.nan_to_num(shares) * np.asarray(counts)[:, None]
    np.fill_diagonal(examples, 0)
    order = np.argsort(-examples, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [divmod(int(place), len(names)) for place in order if examples.flat[place] > 0]
    figure = new_figure(max(1.8, 0.22 * len(pairs) + 0.7))
    axes = figure.subplots()
    bars = axes.barh(range(len(pairs)), [examples[pair] for pair in pairs], 0.7, color=BLUE)
    axes.bar_label(
        bars,
        [f"{examples[pair]:.0f} ({100 * shares[pair]:.0f}%)" for pair in pairs],
        padding=2,
        fontsize=8,
    )
    axes.set_yticks(
        range(len(pairs)),
        [f"{break_name(names[a], 14, 1)} → {break_name(names[b], 14, 1)}" for a, b in pairs],
    )
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.margins(x=0.2, y=0.02)
    axes.set_xlabel(title)
    return figure


def _fits(columns: Sequence[str], cell: float) -> bool:
    lines = [line for column in columns for line in break_name(column).split("\n")]
    return max(len(line) for line in lines) * 0.9 * _CHARACTER < cell
