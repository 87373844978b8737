"""The encoder before fine-tuning against after it, as a radar chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semeval_kit.show.figures.palette import (
    BAND_ALPHA,
    BLUE,
    VERMILION,
    WIDTH,
    break_name,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE = 1.2
"""Inches beside the circle, for the longest line of words."""


@styled
def draw_radar(
    after: Mapping[str, float], before: Mapping[str, float], names: tuple[str, str]
) -> Figure:
    """Radar chart of scores of the fine-tuned encoder against the same one before fine-tuning.

    With fewer than three scores there is no polygon; then bars are drawn.

    Args:
        after: score (0 to 1) by its name.
        before: the same names.
        names: what to call after and before.
    """
    figure = new_figure(WIDTH - 2 * _SIDE + 1.6 if len(after) > 2 else 2.6)
    series = [(before, VERMILION, names[1]), (after, BLUE, names[0])]
    if len(after) > 2:
        # Automatic layout does not see the words around a circle; they get an inch on each side.
        figure.set_layout_engine("none")
        wide, high = figure.get_size_inches()
        size = wide - 2 * _SIDE
        place = (_SIDE / wide, 0.55 / high, size / wide, size / high)
        _fill_radar(figure.add_axes(place, projection="polar"), series)
    else:
        _fill_bars(figure.subplots(), series)
    figure.legend(
        loc="upper left" if len(after) > 2 else "outside upper left",
        ncols=2 if max(map(len, names)) < 26 else 1,
    )
    return figure


def _fill_radar(axes: Axes, series: Sequence[tuple[Mapping[str, float], str, str]]) -> None:
    labels = list(series[0][0])
    angles = 2 * np.pi * np.arange(len(labels)) / len(labels)
    around = np.append(angles, angles[0])
    polar: Any = axes
    polar.set_theta_offset(np.pi / 2)
    polar.set_theta_direction(-1)
    for scores, colour, name in series:
        values = np.clip(np.nan_to_num([scores[label] for label in [*labels, labels[0]]]), 0, 1)
        axes.plot(around, values, color=colour, marker="o", label=name)
        axes.fill(around, values, color=colour, alpha=BAND_ALPHA, linewidth=0)
    axes.set_ylim(0, 1)
    polar.set_rgrids([0.25, 0.5, 0.75, 1.0], ["", "0.5", "", "1"], fontsize=7)
    polar.set_rlabel_position(180 / len(labels))
    shown = [
        f"{break_name(label, 14)}\n{series[0][0][label]:.2f} → {series[1][0][label]:.2f}"
        for label in labels
    ]
    axes.set_xticks(angles, shown)
    for angle, tick in zip(angles, axes.get_xticklabels(), strict=True):
        side = np.sin(angle)
        tick.set_horizontalalignment(
            "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        )
    axes.spines["polar"].set_visible(False)


def _fill_bars(axes: Axes, series: Sequence[tuple[Mapping[str, float], str, str]]) -> None:
    labels = list(series[0][0])
    for place, (scores, colour, name) in enumerate(series):
        spots = np.arange(len(labels)) + (place - 0.5) * 0.38
        bars = axes.barh(spots, [scores[label] for label in labels], 0.34, color=colour, label=name)
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.set_yticks(range(len(labels)), [break_name(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("score (0 to 1)")
    axes.grid(False, axis="y")
