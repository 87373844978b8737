"""A comparison of runs as tables that fit a page or a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from semeval_kit.show.comparison import Entry, RunComparison
from semeval_kit.show.markup import escape_markdown
from semeval_kit.show.tables import (
    Table,
    show_count,
    show_interval,
    show_number,
    show_p,
    show_seconds,
    show_spread,
)

MEASURE_TITLES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "weighted_f1": "weighted F1",
    "weighted_precision": "weighted P",
    "weighted_recall": "weighted R",
    "macro_auc": "macro AUC",
    "accuracy": "accuracy",
    "jaccard": "Jaccard",
    "pearson_r": "Pearson r",
}
SPLIT_TITLES = {"oof": "out of fold", "dev": "dev", "test": "test"}
_LABELS_PER_TABLE = 5
_MEASURES_BESIDE = 2


def comparison_tables(comparison: RunComparison) -> list[Table]:
    """Scores, other metrics, labels, folds and cost, in tables of a page's width.

    Runs of another task or metric have tables of their own. What all names share is left out of
    them, see `list_notes`.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in comparison.entries:
        groups.setdefault((entry.results.task.name, entry.results.metric), []).append(entry)
    tables: list[Table] = []
    for number, ((task, _), entries) in enumerate(groups.items(), start=1):
        part = RunComparison(comparison.split, tuple(entries), ())
        found = [_scores(part), *_measures(part), *_labels(part)]
        if len(groups) > 1:
            found = [
                replace(t, title=f"{task}: {t.title}", key=f"{t.key}-task-{number}") for t in found
            ]
        tables += found
    short = _shorten_names([entry.results.name for entry in comparison.entries])[0]
    return [
        replace(table, rows=tuple((short[name], *cells) for name, *cells in table.rows))
        for table in (*tables, _folds(comparison), _cost(comparison))
    ]


def list_notes(comparison: RunComparison) -> tuple[str, ...]:
    """What belongs below the tables."""
    _, pattern = _shorten_names([entry.results.name for entry in comparison.entries])
    if not pattern:
        return comparison.notes
    return (
        f"Full names of the runs: {pattern}, with what the tables say for ….",
        *comparison.notes,
    )


def _shorten_names(names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Names without the parts between `_` that all share, and those parts around an ellipsis."""
    parts = [name.split("_") for name in names]
    shortest = min(map(len, parts)) - 1
    if len(set(names)) < 2 or shortest < 1:
        return {name: name for name in names}, ""
    head = _count_shared(parts, shortest)
    tail = _count_shared([part[::-1] for part in parts], shortest - head)
    if not head + tail:
        return {name: name for name in names}, ""
    middles = {
        name: "_".join(part[head : len(part) - tail])
        for name, part in zip(names, parts, strict=True)
    }
    first = parts[0]
    return middles, "_".join([*first[:head], "…", *first[len(first) - tail :]])


def _count_shared(parts: Sequence[Sequence[str]], most: int) -> int:
    """How many of the first parts are the same in all, at most so many."""
    for place in range(most):
        if len({part[place] for part in parts}) > 1:
            return place
    return most


def measure_title(name: str, kind: str = "multilabel") -> str:
    """A metric's name for people: "accuracy" of several labels is subset accuracy."""
    if name == "accuracy" and kind == "multilabel":
        return "subset acc."
    return MEASURE_TITLES.get(name, name)


def _scores(comparison: RunComparison) -> Table:
    entries = comparison.entries
    kind = entries[0].results.task.kind
    title = measure_title(entries[0].results.metric, kind)
    others = _other_measures(entries)
    others = others if len(others) <= _MEASURES_BESIDE else []
    return Table(
        key="scores",
        title=f"{title}, {SPLIT_TITLES[comparison.split]}",
        columns=(
            "run",
            title,
            "95% interval",
            "vs best",
            "p",
            "at 0.5" if kind != "singlelabel" else "argmax",
            *(measure_title(name, kind) for name in others),
        ),
        rows=tuple(
            (
                entry.results.name,
                show_number(entry.score),
                show_interval(entry.low, entry.high, 3),
                show_number(entry.versus_best.difference if entry.versus_best else None),
                _show_test(entry),
                show_number(entry.at_half),
                *_show_measures(entry, others),
            )
            for entry in entries
        ),
    )


def _measures(comparison: RunComparison) -> list[Table]:
    """The other metrics, where they do not fit beside the first."""
    entries, others = comparison.entries, _other_measures(comparison.entries)
    if len(others) <= _MEASURES_BESIDE:
        return []
    kind = entries[0].results.task.kind
    return [
        Table(
            key="measures",
            title=f"Other metrics, {SPLIT_TITLES[comparison.split]}",
            columns=("run", *(measure_title(name, kind) for name in others)),
            rows=tuple((e.results.name, *_show_measures(e, others)) for e in entries),
        )
    ]


def _show_test(entry: Entry) -> str:
    if entry.versus_best:
        return show_p(entry.versus_best.p_value)
    return "best" if entry.best == entry.results.name else "-"


def _labels(comparison: RunComparison) -> list[Table]:
    entries = comparison.entries
    names = list(dict.fromkeys(name for entry in entries for name in entry.labels))
    unit = "r" if entries[0].results.task.kind == "intensity" else "F1"
    thresholds = entries[0].results.task.kind != "singlelabel"
    tables = []
    for start in range(0, len(names), _LABELS_PER_TABLE):
        shown = names[start : start + _LABELS_PER_TABLE]
        tables.append(
            Table(
                key=f"labels-{start // _LABELS_PER_TABLE + 1}",
                title=f"{unit} per label, {SPLIT_TITLES[comparison.split]}"
                + (" (at 0.5)" if thresholds else ""),
                columns=("run", *shown),
                rows=tuple(
                    (e.results.name, *(_show_label(e, name, thresholds) for name in shown))
                    for e in entries
                ),
            )
        )
    return tables


def _show_label(entry: Entry, name: str, thresholds: bool) -> str:
    tuned = show_number(entry.labels.get(name), 3)
    if not tuned or not thresholds:
        return tuned
    return f"{tuned} ({show_number(entry.labels_at_half.get(name), 3)})"


def _folds(comparison: RunComparison) -> Table:
    names = ("train_loss", "val_loss", "macro_f1", "micro_f1", "subset_accuracy")
    return Table(
        key="folds",
        title="Folds: mean ± sd of each fold's best epoch, at 0.5",
        columns=("run", "train loss", "val loss", "macro-F1", "micro-F1", "subset acc."),
        rows=tuple(
            (e.results.name, *(show_spread(e.results.fold_values(name), 3) for name in names))
            for e in comparison.entries
        ),
    )


def _cost(comparison: RunComparison) -> Table:
    return Table(
        key="cost",
        title="Cost: time of all folds together, largest memory of one",
        columns=("run", "encoder", "params", "seed", "folds", "time", "GB"),
        rows=tuple(
            (
                entry.results.name,
                shown_encoder(entry.results.encoder),
                show_count(entry.results.parameters),
                str(entry.results.recipe.get("seed", "")),
                str(len(entry.results.folds)),
                show_seconds(entry.results.seconds),
                f"{entry.results.peak_rss_mb / 1000:.1f}",
            )
            for entry in comparison.entries
        ),
        n_text=2,
    )


def shown_encoder(encoder: str) -> str:
    """An encoder's name without its owner, or the last part of its folder."""
    if encoder == "embedded":
        return "all-MiniLM-L6-v2"
    return encoder.rstrip("/").rpartition("/")[2]


def _other_measures(entries: Sequence[Entry]) -> list[str]:
    """Metrics beside the headline; Jaccard is left to the CSV unless a task asks for it."""
    found: dict[str, None] = {}
    for entry in entries:
        tuned = entry.results.split_score(entry.split)
        asked = entry.results.task.scoring.metrics
        names = tuned.measures if tuned else {}
        found |= dict.fromkeys(n for n in names if n != "jaccard" or n in asked)
    return [name for name in found if any(entry.results.metric != name for entry in entries)]


def _show_measures(entry: Entry, names: Sequence[str]) -> list[str]:
    tuned = entry.results.split_score(entry.split)
    return [show_number(tuned.measures.get(name) if tuned else None) for name in names]


def to_markdown(comparison: RunComparison) -> str:
    """The tables and notes as Markdown."""
    parts = [
        f"### {escape_markdown(table.title)}\n\n{table.to_markdown()}"
        for table in comparison_tables(comparison)
    ]
    notes = "\n".join(f"- {escape_markdown(note)}" for note in list_notes(comparison))
    return "\n".join([*parts, notes]) + "\n"


def to_latex(comparison: RunComparison) -> str:
    """The tables as LaTeX to include in a document that loads booktabs and adjustbox."""
    head = (
        "% Needs \\usepackage{booktabs} and \\usepackage{adjustbox} in the preamble.\n"
        "\\providecommand{\\nonlatin}[1]{#1}\n"
    )
    notes = "".join(f"% {' '.join(note.split())}\n" for note in list_notes(comparison))
    tables = [table.to_latex() for table in comparison_tables(comparison)]
    return head + notes + "\n" + "\n".join(tables)
