"""The tables about several runs: how they compare, what differs between them, seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os.path import commonprefix

from semeval_kit.show.compare import FOLD_VALUES, Entry, RunComparison
from semeval_kit.show.results import RunResults
from semeval_kit.show.scores import SplitResult
from semeval_kit.show.tables_of_runs import show_field, show_value
from semeval_kit.show.tabulate import (
    Table,
    escape_markdown,
    show_count,
    show_interval,
    show_number,
    show_p,
    show_seconds,
    show_spread,
)
from semeval_kit.show.wording import SPLIT_TITLES, name_encoder, name_measure

_LABELS_PER_TABLE = 5
_MEASURES_BESIDE = 2
# Settings beside the recipe that make a run another one.
_FROZEN = ("task", "languages", "train_languages", "train_splits", "data_sha256")
_OTHER_FILES = "data_sha256: other files"


def tabulate_comparison(comparison: RunComparison) -> list[Table]:
    """Scores, other metrics, labels, folds and cost, in tables of a page's width.

    Runs of another task or metric have tables of their own. What all names share is left out of
    them, see `list_notes`.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in comparison.entries:
        groups.setdefault((entry.results.task.name, entry.results.metric), []).append(entry)
    tables: list[Table] = []
    for number, ((task, _), entries) in enumerate(groups.items(), start=1):
        grouped = [*_tabulate_scores(entries), *_tabulate_labels(entries)]
        if len(groups) > 1:
            grouped = [
                replace(t, title=f"{task}: {t.title}", key=f"{t.key}-task-{number}")
                for t in grouped
            ]
        tables += grouped
    short = _shorten_names([entry.results.name for entry in comparison.entries])[0]
    return [
        replace(table, rows=tuple((short[name], *cells) for name, *cells in table.rows))
        for table in (
            *tables,
            _tabulate_folds(comparison.entries),
            _tabulate_cost(comparison.entries),
        )
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


def comparison_markdown(comparison: RunComparison) -> str:
    """The tables and notes as Markdown."""
    parts = [
        f"### {escape_markdown(table.title)}\n\n{table.to_markdown()}"
        for table in tabulate_comparison(comparison)
    ]
    notes = "\n".join(f"- {escape_markdown(note)}" for note in list_notes(comparison))
    return "\n".join([*parts, notes]) + "\n"


def comparison_latex(comparison: RunComparison) -> str:
    """The tables as LaTeX to include in a document that loads booktabs and adjustbox."""
    head = (
        "% Needs \\usepackage{booktabs} and \\usepackage{adjustbox} in the preamble.\n"
        "\\providecommand{\\nonlatin}[1]{#1}\n"
    )
    notes = "".join(f"% {' '.join(note.split())}\n" for note in list_notes(comparison))
    tables = [table.to_latex() for table in tabulate_comparison(comparison)]
    return head + notes + "\n" + "\n".join(tables)


def tabulate_ablations(comparison: RunComparison, name: str) -> Table:
    """Other runs: what differs in their recipe, the score, the difference from this run, and p."""
    reference = next(e.results for e in comparison.entries if e.results.name == name)
    rows = []
    for entry in comparison.entries:
        test = entry.versus_best
        is_own = entry.results.name == name
        rows.append(
            (
                entry.results.name,
                "this run" if is_own else describe_changes(entry.results, reference),
                show_number(entry.tuned.score),
                show_number(test.difference if test else None),
                show_interval((test.low, test.high)) if test else "",
                show_p(test.p_value) if test else ("" if is_own else "-"),
            )
        )
    return Table(
        f"ablations-{comparison.split}",
        f"Other runs against {name}, {SPLIT_TITLES[comparison.split]}",
        ("run", "what differs", reference.metric_name, "difference", "95% interval", "p"),
        tuple(rows),
        n_text=2,
        notes=comparison.notes,
    )


def tabulate_seeds(groups: Sequence[Sequence[RunResults]]) -> Table:
    """Runs that differ only in their seed: mean and sd over seeds."""
    rows = []
    for group in groups:
        columns = (
            [r.reading("cross_fitted").get("score") for r in group],
            [s.score if (s := r.split_score("dev")) else None for r in group],
            [r.test_score for r in group],
        )
        seeds = ", ".join(str(r.recipe["seed"]) for r in group)
        spreads = (show_spread([v for v in column if v is not None]) for column in columns)
        rows.append((group[0].name, seeds, *spreads))
    return Table(
        "seeds",
        "Seeds: mean ± sd over runs that differ only in the seed",
        ("run", "seeds", "out of fold, cross-fitted", "dev", "test"),
        tuple(rows),
        n_text=2,
    )


def group_seeds(runs: Sequence[RunResults]) -> list[list[RunResults]]:
    """Runs that differ in nothing but the seed, together; in the order of their first."""
    groups: list[list[RunResults]] = []
    for run in runs:
        for group in groups:
            if _fields_that_differ(run, group[0]) <= {"seed"}:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def describe_changes(other: RunResults, own: RunResults) -> str:
    """What differs between two runs, such as `encoder: bert-tiny; epochs: 3`."""
    differing = _fields_that_differ(other, own)
    changes = [
        f"{name}: {show_value(other.settings.get(name))}" if name != "data_sha256" else _OTHER_FILES
        for name in _FROZEN
        if name in differing
    ]
    changes += [f"{name}: {show_field(other, name)}" for name in own.recipe if name in differing]
    return "; ".join(changes) or "nothing"


def _fields_that_differ(one: RunResults, two: RunResults) -> set[str]:
    fields = {n for n in {*one.recipe, *two.recipe} if one.recipe.get(n) != two.recipe.get(n)}
    return fields | {n for n in _FROZEN if one.settings.get(n) != two.settings.get(n)}


def _tabulate_scores(entries: Sequence[Entry]) -> list[Table]:
    """The headline metric; the other metrics beside it, or in a table of their own."""
    first = entries[0].results
    split = SPLIT_TITLES[entries[0].tuned.split]
    others = _other_measures(entries)
    uploaded = any(entry.results.uploaded is not None for entry in entries)
    beside = others if len(others) <= _MEASURES_BESIDE else []
    titles = [name_measure(name, first.task.kind) for name in others]
    scores = Table(
        key="scores",
        title=f"{first.metric_name}, {split}",
        columns=(
            "run",
            first.metric_name,
            "95% interval",
            "vs best",
            "p",
            first.wording.untuned,
            *(["uploaded"] if uploaded else []),
            *(titles if beside else []),
        ),
        rows=tuple(
            (
                entry.results.name,
                show_number(entry.tuned.score),
                show_interval(entry.tuned.interval, 3),
                show_number(entry.versus_best.difference if entry.versus_best else None),
                _show_test(entry),
                show_number(entry.half.score),
                *([show_number(entry.results.uploaded)] if uploaded else []),
                *(show_number(entry.tuned.measures.get(name)) for name in beside),
            )
            for entry in entries
        ),
    )
    if beside or not others:
        return [scores]
    measures = Table(
        key="measures",
        title=f"Other metrics, {split}",
        columns=("run", *titles),
        rows=tuple(
            (e.results.name, *(show_number(e.tuned.measures.get(name)) for name in others))
            for e in entries
        ),
    )
    return [scores, measures]


def _show_test(entry: Entry) -> str:
    if entry.versus_best:
        return show_p(entry.versus_best.p_value)
    return "best" if entry.best == entry.results.name else "-"


def _other_measures(entries: Sequence[Entry]) -> list[str]:
    """Metrics beside the headline; Jaccard is left to the CSV unless a task asks for it."""
    names: dict[str, None] = {}
    for entry in entries:
        asked = entry.results.task.scoring.metrics
        names |= dict.fromkeys(n for n in entry.tuned.measures if n != "jaccard" or n in asked)
    return [name for name in names if any(entry.results.metric != name for entry in entries)]


def _tabulate_labels(entries: Sequence[Entry]) -> list[Table]:
    names = list(dict.fromkeys(label.label for entry in entries for label in entry.tuned.labels))
    wording = entries[0].results.wording
    title = f"{wording.label_score} per label, {SPLIT_TITLES[entries[0].tuned.split]}"
    tables = []
    for start in range(0, len(names), _LABELS_PER_TABLE):
        shown = names[start : start + _LABELS_PER_TABLE]
        rows = []
        for entry in entries:
            tuned, half = _label_scores(entry.tuned), _label_scores(entry.half)
            cells = [
                f"{tuned[name]} ({half.get(name, '')})"
                if wording.tuned and name in tuned
                else tuned.get(name, "")
                for name in shown
            ]
            rows.append((entry.results.name, *cells))
        tables.append(
            Table(
                key=f"labels-{start // _LABELS_PER_TABLE + 1}",
                title=title + (" (at 0.5)" if wording.tuned else ""),
                columns=("run", *shown),
                rows=tuple(rows),
            )
        )
    return tables


def _label_scores(score: SplitResult) -> dict[str, str]:
    return {label.label: show_number(label.score, 3) for label in score.labels}


def _tabulate_folds(entries: Sequence[Entry]) -> Table:
    return Table(
        key="folds",
        title="Folds: mean ± sd of each fold's best epoch, at 0.5",
        columns=("run", "train loss", "val loss", "macro-F1", "micro-F1", "subset acc."),
        rows=tuple(
            (e.results.name, *(show_spread(e.results.fold_values(name), 3) for name in FOLD_VALUES))
            for e in entries
        ),
    )


def _tabulate_cost(entries: Sequence[Entry]) -> Table:
    return Table(
        key="cost",
        title="Cost: time of all folds together, largest memory of one",
        columns=("run", "encoder", "params", "seed", "folds", "time", "GB"),
        rows=tuple(
            (
                entry.results.name,
                name_encoder(entry.results.encoder),
                show_count(entry.results.parameters),
                str(entry.results.recipe.get("seed", "")),
                str(len(entry.results.folds)),
                show_seconds(entry.results.seconds),
                f"{entry.results.peak_rss_mb / 1000:.1f}",
            )
            for entry in entries
        ),
        n_text=2,
    )


def _shorten_names(names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Names without the parts between `_` that all share, and those parts around an ellipsis."""
    parts = [name.split("_") for name in names]
    shortest = min(map(len, parts)) - 1
    if len(set(names)) < 2 or shortest < 1:
        return {name: name for name in names}, ""
    head = min(len(commonprefix(parts)), shortest)
    tail = min(len(commonprefix([part[::-1] for part in parts])), shortest - head)
    if not head + tail:
        return {name: name for name in names}, ""
    middles = {
        name: "_".join(part[head : len(part) - tail])
        for name, part in zip(names, parts, strict=True)
    }
    first = parts[0]
    return middles, "_".join([*first[:head], "…", *first[len(first) - tail :]])
