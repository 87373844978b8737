"""What people read of a search: sentences, tables, and one page with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semeval_kit import __version__
from semeval_kit.files import write_atomic
from semeval_kit.plurals import count_noun
from semeval_kit.show.figures.charts import (
    BLUE,
    FAINT,
    INK,
    VERMILION,
    break_name,
    embed_figure,
    grid_panels,
    name_bars,
    new_figure,
    styled,
)
from semeval_kit.show.pages import fill_page
from semeval_kit.show.tabulate import Table, show_interval, show_number, show_p, show_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_TRIALS = 20
"""With fewer trials than these, what mattered is a guess."""
_OBJECTIVES = {"score": "cross-fitted {metric}", "map": "mean average precision"}

Results = Mapping[str, Any]
Trials = Sequence[Mapping[str, Any]]


def describe_search(results: Results) -> list[str]:
    """Sentences about a search: the confirmed figure first, then what it took."""
    sentences = _describe_confirmed(results)
    trials = results["trials"]
    counts = {
        state: sum(trial["state"] == state for trial in trials)
        for state in ("done", "stopped", "failed", "open")
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    possible = results["n_folds"] * len(trials)
    seconds = sum(trial["seconds"] for trial in trials)
    sentences.append(
        f"{len(trials)} of {count_noun(results['n_trials'], 'trial')} ({told}): "
        f"{count_noun(results['folds_trained'], 'fold')} trained of {possible} possible, "
        f"{show_seconds(seconds)} of training."
    )
    if results["importances"]:
        first, share = max(results["importances"].items(), key=lambda pair: pair[1])
        n = results["ranked_from"]
        ranked = count_noun(n, "trial")
        few = f"; from {ranked} that is a guess" if n < FEW_TRIALS else f", from {ranked}"
        told = f"{first} ({100 * share:.0f}% of the differences)"
        sentences.append(f"What mattered most: {told}{few}.")
    return sentences


def tabulate_trials(results: Results) -> Table:
    """A row for each trial, best first: its params, how far it came and why it ended."""
    names = list(results["space"])
    sign = 1 if results["low_is_better"] else -1
    ordered = sorted(
        results["trials"],
        key=lambda t: (t["value"] is None, sign * (t["value"] or 0.0), -(t["map"] or 0.0)),
    )
    rows = [
        (
            trial["name"],
            show_number(trial["value"]),
            show_number(trial["map"]),
            "" if trial["against_start"] is None else f"{trial['against_start']:+.4f}",
            f"{trial['folds']} of {results['n_folds']}",
            *(_spell(trial["params"].get(name, "")) for name in names),
            show_seconds(trial["seconds"]),
            _describe_end(trial),
        )
        for trial in ordered
    ]
    marked = tuple(n for n, row in enumerate(rows) if row[0] == results["winner"])
    return Table(
        key="trials",
        title="Trials",
        columns=(
            "trial", _name_objective(results), "AP", "AP against start", "folds", *names, "time",
            "end",
        ),
        rows=tuple(rows),
        notes=(
            "AP: mean average precision over labels of the folds that the trial has trained. "
            "Against start: the mean difference from trial-000, the recipe itself, on the same "
            "folds. Figures here are of the folds that chose the winner.",
        ),
        marked=marked,
    )  # fmt: skip


def tabulate_importances(results: Results) -> Table:
    """What mattered: a row for each field, with what was searched."""
    shares = results["importances"]
    n = results["ranked_from"]
    notes = [
        "fANOVA over average precision in the first fold, which "
        f"{count_noun(n, 'trial has', 'trials have')}; stopped ones "
        "are among them."
    ]
    if n < FEW_TRIALS:
        notes.append(
            f"{count_noun(n, 'trial is', 'trials are')} few: fewer than {FEW_TRIALS} rank the "
            "fields by luck, too."
        )
    return Table(
        key="importances",
        title="What mattered",
        columns=("field", "searched", "share"),
        rows=tuple(
            (name, results["space"][name], f"{100 * shares[name]:.0f}%")
            for name in sorted(shares, key=lambda name: -shares[name])
        ),
        n_text=2,
        notes=tuple(notes),
    )


def write_search_page(folder: Path, results: Results) -> Path:
    """Write search.html and search.csv into the folder of a search; return the page's path.

    Raises:
        KitError: jinja2 or matplotlib is missing.
    """
    tables = [tabulate_trials(results), tabulate_importances(results)]
    page = fill_page(
        "search",
        "report.css",
        name=folder.resolve().name,
        version=__version__,
        sentences=describe_search(results),
        tables=[table for table in tables if table.rows],
        pictures=_draw_pictures(results),
    )
    write_atomic(folder / "search.csv", tables[0].to_csv())
    write_atomic(folder / "search.html", page)
    return folder / "search.html"


@styled
def draw_trials(trials: Trials, n_folds: int) -> Figure:
    """Mean average precision of the trials in order, on the folds that each has trained."""
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
    name_bars(axes, names)
    axes.margins(x=0.15)
    axes.set_xlabel("share of what differs between trials (fANOVA)")
    return figure


@styled
def draw_fields(trials: Trials, log_fields: Sequence[str]) -> Figure:
    """A panel for each field: its values against average precision in the first fold."""
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


def _describe_confirmed(results: Results) -> list[str]:
    facts, metric = results["confirmed"], results["metric"]
    if facts is None:
        return ["Nothing is confirmed yet: the figures of the trials chose the winner themselves."]
    winner, start, test = facts["figures"], facts["start"], facts["difference"]
    shown = f"{winner['score']:.4f} {show_interval((winner['low'], winner['high']))}"
    place = f"on a new partition of the rows (seed {facts['seed']})"
    if test is None:
        return [f"No trial was better than the recipe itself, which has {metric} {shown} {place}."]
    trial = next(trial for trial in results["trials"] if trial["name"] == facts["winner"])
    in_search = (
        "" if trial["value"] is None else f" ({_name_objective(results)} {trial['value']:.4f})"
    )
    sentences = [
        f"{facts['winner']} has {metric} {shown} {place}; the recipe that the search began with "
        f"has {start['score']:.4f} there. Difference {test['difference']:+.4f} "
        f"{show_interval((test['low'], test['high']))}, p {show_p(test['p_value'])}, paired by "
        f"rows; average precision {facts['map_difference']:+.4f}."
    ]
    if test["low"] <= 0 <= test["high"]:
        sentences.append("The interval holds 0: the search has shown no gain.")
    sentences.append(
        f"This is the figure to report, not the best of {len(results['trials'])} on the folds that "
        f"chose it{in_search}. The rows are the same, so a little optimism may remain."
    )
    return sentences


def _draw_pictures(results: Results) -> list[dict[str, Any]]:
    trials, n_folds = results["trials"], results["n_folds"]
    log_fields = [name for name, told in results["space"].items() if told.endswith("(log)")]
    drawn = [("trials", "Trials", draw_trials(trials, n_folds), "In the order of their begin.")]
    if results["importances"]:
        told = tabulate_importances(results).notes[-1]
        figure = draw_importances(results["importances"])
        drawn.append(("importances", "What mattered", figure, told))
    if any(trial["first"] is not None for trial in trials):
        told = "Average precision in the first fold, which every trial has. Red: stopped later."
        drawn.append(("fields", "Each field", draw_fields(trials, log_fields), told))
    return [
        {"title": title, "caption": caption, "image": embed_figure(figure, name)}
        for name, title, figure, caption in drawn
    ]


def _name_objective(results: Results) -> str:
    return _OBJECTIVES[results["objective"]].format(metric=results["metric"])


def _describe_end(trial: Mapping[str, Any]) -> str:
    if trial["state"] == "done":
        return "all folds"
    if trial["state"] == "open":
        return trial["at_work"] or "goes on with the same command"
    return f"{trial['state']} {trial['why']}".splitlines()[0][:200]


def _spell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
