"""Matrices as pictures: cells coloured by their share, with the number written on each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.figures.palette import (
    FAINT,
    PAPER,
    WIDTH,
    break_name,
    new_figure,
    ramp,
    writing_on,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

# Inches that a character of the small type takes, generously.
_CHARACTER = 0.075
_MARGIN = 0.75
_TWO_LINES = 0.34


def draw_matrix(
    shares: FloatArray,
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str,
    column_title: str,
    counts: Sequence[float] | FloatArray | None = None,
) -> Figure:
    """One matrix as a figure, as high as its cells need, with percentages on them.

    Args:
        shares: `(R, C)` in 0..1, NaN for a blank cell.
        rows: R names.
        columns: C names.
        row_title: what the rows are.
        column_title: what the columns are, with the unit of the cells.
        counts: `(R,)`, what to add to the rows' names.
    """
    names = [break_name(row) for row in rows]
    if counts is not None:
        names = [f"{name} ({int(n)})" for name, n in zip(names, counts, strict=True)]
    longest = max(len(line) for name in names for line in name.split("\n"))
    cell = (WIDTH - _MARGIN - _CHARACTER * longest) / len(columns)
    flat = _fits(columns, cell)
    # Upright words need the width of their lines: a narrow cell has room for one.
    one = not flat and cell < _TWO_LINES
    heads = [break_name(column, 22, 1) if one else break_name(column) for column in columns]
    deep = 2 if flat else max(len(line) for head in heads for line in head.split("\n"))
    n_lines = max(sum(name.count("\n") + 1 for name in names) / len(names), 1.0)
    high = min(max(cell, 0.19 * n_lines), 0.5 if len(rows) <= 6 else 0.36)
    figure = new_figure(max(high * len(rows), 1.2) + _CHARACTER * deep + _MARGIN)
    axes = figure.subplots()
    fill_cells(axes, shares)
    axes.set_yticks(np.arange(len(rows)) + 0.5, names)
    axes.set_xticks(np.arange(len(columns)) + 0.5, heads, rotation=0 if flat else 90)
    axes.set_ylabel(row_title)
    axes.set_xlabel(column_title)
    return figure


def fill_cells(
    axes: Axes, shares: FloatArray, words: Sequence[Sequence[str]] | None = None, size: float = 8
) -> None:
    """Colour the cells of axes by their share and write on them; the first row is on top.

    Args:
        axes: an empty panel.
        shares: `(R, C)` in 0..1, NaN for a blank cell.
        words: what to write on the cells; percentages if left out.
        size: of the writing, in points.
    """
    # One rectangle per cell rather than an image: sharp at every size, and no embedded picture.
    colours = ramp()
    axes.pcolormesh(
        np.ma.masked_invalid(shares), vmin=0, vmax=1, cmap=colours, edgecolors=PAPER, linewidth=1
    )
    for row, column in np.ndindex(*shares.shape):
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


def _fits(columns: Sequence[str], cell: float) -> bool:
    lines = [line for column in columns for line in break_name(column).split("\n")]
    return max(len(line) for line in lines) * 0.9 * _CHARACTER < cell
