"""Pictures of training: loss and score per epoch and fold, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semeval_kit.show.figures.charts import (
    BAND_ALPHA,
    BLUE,
    GREEN,
    INK,
    VERMILION,
    WIDTH,
    break_name,
    new_figure,
    styled,
)
from semeval_kit.show.wording import name_measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Epochs = Sequence[Mapping[str, Any]]

# Inches beside the circle of a radar chart, for the longest line of words.
_SIDE = 1.2


@styled
def draw_training(
    histories: Sequence[Epochs],
    best_epochs: Sequence[int],
    metric: str = "macro_f1",
    kind: str = "multilabel",
) -> Figure:
    """Training and validation loss, and the score, per epoch: thin per fold, thick the mean.

    A fold without epochs is left out; its best epoch, whose weights were kept, is ringed. The panel
    of the score is left out if no epoch has the metric.
    """
    shown = [(list(h), best) for h, best in zip(histories, best_epochs, strict=True) if h]
    with_score = any(metric in row for history, _ in shown for row in history)
    figure = new_figure(4.6 if with_score else 2.8)
    panels = figure.subplots(2 if with_score else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_curves(panels[0], shown, "train_loss", BLUE, "training", dashed=True)
    _draw_curves(panels[0], shown, "val_loss", VERMILION, "validation")
    panels[0].set_ylabel("loss (per example)")
    if with_score:
        name = name_measure(metric, kind)
        _draw_curves(panels[1], shown, metric, GREEN, f"validation {name}")
        panels[1].set_ylabel(f"{name} (0 to 1)")
    _label_epochs(panels[-1], shown)
    panels[0].plot([], [], "o", markerfacecolor="none", color=INK, label="epoch kept")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def _draw_curves(
    axes: Axes,
    shown: Sequence[tuple[Epochs, int]],
    key: str,
    colour: str,
    name: str,
    dashed: bool = False,
) -> None:
    style: Any = (0, (4, 2)) if dashed else "-"
    curves = [
        {int(row["epoch"]): float(row[key]) for row in history if row.get(key) is not None}
        for history, _ in shown
    ]
    several = len(curves) > 1
    for curve, (_, best) in zip(curves, shown, strict=True):
        alone = not several or len(curve) == 1
        axes.plot(
            list(curve),
            list(curve.values()),
            color=colour,
            linestyle=style,
            linewidth=0.8 if several else 1.8,
            alpha=0.55 if several else 1.0,
            marker="." if alone else None,
            label=None if several else name,
        )
        if not dashed and best in curve:
            axes.plot(best, curve[best], "o", markerfacecolor="none", color=colour)
    # The mean stops where the first fold stops: beyond, it would be one of other folds.
    reached = (
        [epoch for epoch in curves[0] if all(epoch in curve for curve in curves)] if curves else []
    )
    if several and reached:
        means = [float(np.mean([curve[epoch] for curve in curves])) for epoch in reached]
        marker = "." if len(reached) == 1 else None
        axes.plot(reached, means, color=colour, linestyle=style, linewidth=2.2, marker=marker)
        axes.plot([], [], color=colour, linestyle=style, linewidth=2.2, label=f"{name} (mean)")


def _label_epochs(axes: Axes, shown: Sequence[tuple[Epochs, int]]) -> None:
    from matplotlib.ticker import MaxNLocator

    last = max((int(row["epoch"]) for history, _ in shown for row in history), default=1)
    axes.set_xlim(0.8, max(last, 1) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    axes.set_xlabel("epoch")


@styled
def draw_radar(
    after: Mapping[str, float], before: Mapping[str, float], names: tuple[str, str]
) -> Figure:
    """Radar chart of scores of the fine-tuned encoder against the same one before fine-tuning.

    Fewer than three scores are no polygon, and more than twelve names do not fit around one: they
    are bars.
    """
    is_radar = 2 < len(after) <= 12
    figure = new_figure(WIDTH - 2 * _SIDE + 1.6 if is_radar else max(2.6, 0.36 * len(after) + 1))
    series = [(before, VERMILION, names[1]), (after, BLUE, names[0])]
    if is_radar:
        # Automatic layout does not see the words around a circle; they get an inch on each side.
        figure.set_layout_engine("none")
        wide, high = figure.get_size_inches()
        size = wide - 2 * _SIDE
        place = (_SIDE / wide, 0.55 / high, size / wide, size / high)
        _fill_radar(figure.add_axes(place, projection="polar"), series)
    else:
        _fill_bars(figure.subplots(), series)
    figure.legend(
        loc="upper left" if is_radar else "outside upper left",
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
