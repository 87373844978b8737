"""Pictures of a search: its trials in order, what mattered, and each field against the measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semeval_kit.show.figures.charts import (
    BLUE,
    FAINT,
    INK,
    VERMILION,
    break_name,
    grid_panels,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Trials = Sequence[Mapping[str, Any]]


@styled
def draw_trials(trials: Trials, n_folds: int) -> Figure:
    """Mean average precision of the trials in order, on the folds that each has trained.

    Args:
        trials: as results.json lists them.
        n_folds: of a whole trial.
    """
    figure = new_figure(2.8)
    axes = figure.subplots()
    numbers = np.arange(len(trials))
    values = np.array([np.nan if t["map"] is None else t["map"] for t in trials])
    whole = np.array([t["folds"] >= n_folds for t in trials])
    axes.plot(numbers[whole], values[whole], "o", color=BLUE, label=f"all {n_folds} folds")
    short = ~whole & ~np.isnan(values)
    axes.plot(numbers[short], values[short], "x", color=VERMILION, label="stopped, or not ended")
    for number in numbers[short]:
        axes.annotate(
            str(trials[number]["folds"]),
            (number, values[number]),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=6,
            color=FAINT,
        )
    if len(values) and not np.isnan(values[0]):
        axes.axhline(values[0], color=INK, linewidth=0.8, linestyle="--", label="the recipe itself")
    axes.set_xlabel("trial (beside a cross: its folds)")
    axes.set_ylabel("mean average precision")
    axes.set_xticks(numbers[:: max(len(trials) // 12, 1)])
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@styled
def draw_importances(importances: Mapping[str, float]) -> Figure:
    """Bars: the share of the differences between trials that each field accounts for."""
    names = sorted(importances, key=lambda name: -importances[name])
    figure = new_figure(max(1.6, 0.26 * len(names) + 0.7))
    axes = figure.subplots()
    shares = [100 * importances[name] for name in names]
    bars = axes.barh(range(len(names)), shares, 0.7, color=BLUE)
    axes.bar_label(bars, [f"{share:.0f}%" for share in shares], padding=2, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.margins(x=0.15)
    axes.set_xlabel("share of what differs between trials (fANOVA)")
    return figure


@styled
def draw_fields(trials: Trials, log_fields: Sequence[str]) -> Figure:
    """A panel for each field: its values against average precision in the first fold.

    Args:
        trials: as results.json lists them, with "first" for the measure of the first fold.
        log_fields: whose axis is logarithmic.
    """
    shown = [trial for trial in trials if trial["first"] is not None]
    names = list(shown[0]["params"]) if shown else []
    figure, panels = grid_panels(max(len(names), 1), columns=3, height=1.5, sharey=True)
    for name, axes in zip(names, panels, strict=False):
        _draw_field(axes, [trial["params"][name] for trial in shown], shown)
        axes.set_title(break_name(name, 22, 1))
        if name in log_fields:
            _spell_decades(axes)
    for axes in panels[::3]:
        axes.set_ylabel("first fold")
    return figure


def _spell_decades(axes: Axes) -> None:
    """A logarithmic axis whose numbers are plain: 1e-05, 0.001."""
    low, high = (np.log10(end) for end in axes.dataLim.intervalx)
    axes.set_xscale("log")
    ends = np.arange(np.floor(low), np.ceil(high) + 1)
    shown = 10.0 ** ends[:: max(len(ends) // 2, 1)]
    axes.set_xticks(shown, [f"{value:g}" for value in shown])
    axes.minorticks_off()


def _draw_field(axes: Axes, values: Sequence[Any], shown: Trials) -> None:
    words = any(isinstance(value, (str, bool)) for value in values)
    names = sorted({str(value) for value in values}) if words else []
    places = [names.index(str(value)) if words else value for value in values]
    for place, trial in zip(places, shown, strict=True):
        colour = VERMILION if trial["state"] == "stopped" else BLUE
        axes.plot(place, trial["first"], "o", color=colour, markersize=3)
    if words:
        axes.set_xticks(range(len(names)), [break_name(name, 10, 1) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
