"""The tables about how runs were made and how several compare: data, folds, recipe, cost, seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples
from semeval_kit.data.stats import describe_split
from semeval_kit.show.compare import Entry, RunComparison
from semeval_kit.show.results import RunResults, SplitResult
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
from semeval_kit.task.task import Task

_FOLD_MEASURES = ("macro_f1", "micro_f1", "weighted_f1", "subset_accuracy")
_MACHINE = {"cpu": "processor", "memory_gb": "memory, GB", "gpu": "GPU"}

# What it means where a recipe leaves a field open: None, in older runs 0 or less.
_OPEN = {
    "lr": "by the encoder's width",
    "hidden_dropout": "the encoder's own",
    "attention_dropout": "the encoder's own",
}
_LABELS_PER_TABLE = 5
_MEASURES_BESIDE = 2

# Settings beside the recipe that make a run another one.
_FROZEN = ("task", "languages", "train_languages", "train_splits", "data_sha256")


def tabulate_data(task: Task, splits: Mapping[str, Examples]) -> Table:
    """Rows and positives per label of every split and language; levels for intensities."""
    rows = []
    for split, examples in splits.items():
        for language in dict.fromkeys(examples.languages):
            stats = describe_split(examples, language, split)
            known = bool(stats.labels)
            rows.append(
                (
                    language,
                    split,
                    str(stats.n_rows),
                    str(stats.n_neutral) if known else "",
                    f"{stats.mean_labels:.2f}" if known else "",
                    f"{stats.words.quantiles[2]:.0f}",
                    *(_show_share(task, stats, label) for label in task.all_labels),
                )
            )
    levels = " / ".join(str(level) for level in range(1, task.max_value + 1))
    counted = f"counts of levels {levels}" if task.max_value > 1 else "positives (% of rows)"
    return Table(
        "data",
        f"Data: rows, rows without any label, labels per row, median words, and {counted}",
        ("language", "split", "rows", "none", "labels/row", "words", *task.all_labels),
        tuple(rows),
        n_text=2,
        notes=("Blank: the label is not annotated there, or the split's labels are not known.",),
    )


def tabulate_folds(results: RunResults) -> Table:
    """One row per fold at its kept epoch, then mean and standard deviation."""
    measures = dict.fromkeys((*_FOLD_MEASURES, results.metric))
    names = [name for name in measures if results.fold_values(name)]
    rows = [
        (
            fold.name,
            str(fold.best_epoch),
            show_number(fold.train_loss),
            show_number(fold.val_loss),
            *(show_number(fold.measures.get(name)) for name in names),
            show_seconds(fold.seconds),
            f"{fold.peak_rss_mb:.0f} MB",
        )
        for fold in results.folds
    ]
    if len(rows) > 1:
        spread = [
            show_spread(results.fold_values(key), 3) for key in ("train_loss", "val_loss", *names)
        ]
        memory = f"{results.peak_rss_mb:.0f} MB"
        rows.append(("mean ± sd", "", *spread, f"Σ {show_seconds(results.seconds)}", memory))
    titles = [name_measure(name, results.task.kind) for name in names]
    return Table(
        "folds",
        "Per fold",
        ("fold", "epoch", "train loss", "val. loss", *titles, "time", "memory"),
        tuple(rows),
        notes=(
            f"At the epoch that was kept; measures on rows held out, {results.wording.untuned}.",
        ),
    )


def tabulate_recipe(results: RunResults, others: Sequence[RunResults] = ()) -> Table:
    """Every hyperparameter as it was used, and the values that other runs tried."""
    rows = []
    for name in results.recipe:
        value, *tried = dict.fromkeys(show_field(one, name) for one in (results, *others))
        rows.append((name, value, ", ".join([value, *tried]) if tried else ""))
    if others:
        title = "Hyperparameters, and the values tried in the runs given"
        return Table("recipe", title, ("field", "value", "values tried"), tuple(rows), n_text=3)
    pairs = tuple((name, value) for name, value, _ in rows)
    return Table("recipe", "Recipe", ("field", "value"), pairs, n_text=2)


def show_field(results: RunResults, name: str) -> str:
    """A field of the recipe in words: what training made of it, where the recipe leaves it open."""
    value = results.recipe.get(name)
    if name == "encoder":
        return name_encoder(str(value))
    is_open = value is None or value < 0 or (name == "lr" and not value) if name in _OPEN else False
    if is_open:
        resolved = results.resolved.get(name)
        return _OPEN[name] if resolved is None else f"{resolved:.3g} ({_OPEN[name]})"
    return show_value(value)


def show_value(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {show_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(show_value(item) for item in value)
    return "–" if value in ("", None) else str(value)


def tabulate_machine(results: RunResults) -> Table:
    """Hardware, time, size and versions."""
    machine, versions = results.settings.get("machine", {}), results.settings.get("versions", {})
    rows = {
        "parameters": show_count(results.parameters),
        "of which trained": show_count(results.trainable_parameters),
        "models": str(len(results.folds)),
        "time of all folds": show_seconds(results.seconds),
        "largest memory of a fold": f"{results.peak_rss_mb:.0f} MB",
        **{_MACHINE.get(name, name): show_value(value) for name, value in machine.items()},
        **{f"version of {name}": show_value(value) for name, value in versions.items()},
    }
    title = "Hardware, time, size and versions"
    return Table("machine", title, ("what", "value"), tuple(rows.items()), n_text=2)


def tabulate_weights(results: RunResults) -> Table:
    """The members of a blend, and what each weighs in every language, the mean over labels."""
    names = results.weights.get("names", ())
    tables = results.weights.get("values") or {"all": results.weights.get("joint", ())}
    means = {code: np.mean(table, axis=0) for code, table in tables.items() if len(table)}
    rows = [
        (name, *(show_number(float(mean[place]), 3) for mean in means.values()))
        for place, name in enumerate(names)
    ]
    return Table(
        "weights",
        "Weights of the members, mean over labels",
        ("member", *means),
        tuple(sorted(rows, key=lambda row: row[1:], reverse=True)),
    )


def tabulate_files(results: RunResults) -> Table:
    """The files of data and encoder that the run was made with."""
    hashes = {
        **results.settings.get("data_sha256", {}),
        **{f"encoder: {n}": v for n, v in results.settings.get("encoder_sha256", {}).items()},
    }
    return Table(
        "data",
        "Files that the run was made with",
        ("file", "sha256"),
        tuple((str(name), str(value)) for name, value in hashes.items()),
        n_text=2,
    )


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
        own = [*_tabulate_scores(entries), *_tabulate_labels(entries)]
        if len(groups) > 1:
            own = [
                replace(t, title=f"{task}: {t.title}", key=f"{t.key}-task-{number}") for t in own
            ]
        tables += own
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
    own = next(e.results for e in comparison.entries if e.results.name == name)
    rows = []
    for entry in comparison.entries:
        test = entry.versus_best
        is_own = entry.results.name == name
        rows.append(
            (
                entry.results.name,
                "this run" if is_own else describe_changes(entry.results, own),
                show_number(entry.tuned.score),
                show_number(test.difference if test else None),
                show_interval((test.low, test.high)) if test else "",
                show_p(test.p_value) if test else ("" if is_own else "-"),
            )
        )
    return Table(
        f"ablations-{comparison.split}",
        f"Other runs against {name}, {SPLIT_TITLES[comparison.split]}",
        ("run", "what differs", own.metric_name, "difference", "95% interval", "p"),
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
        f"{name}: {_describe_setting(other.settings.get(name))}"
        for name in _FROZEN
        if name in differing
    ]
    changes += [f"{name}: {show_field(other, name)}" for name in own.recipe if name in differing]
    return "; ".join(changes) or "nothing"


def _show_share(task: Task, stats: Any, label: str) -> str:
    if label not in stats.labels:
        return ""
    if task.max_value > 1:
        levels = (stats.values[label].get(str(n), 0) for n in range(1, task.max_value + 1))
        return " / ".join(map(str, levels))
    count, known = stats.positives()[label], stats.annotated[label]
    return f"{count} ({100 * count / max(known, 1):.0f}%)"


def _describe_setting(value: Any) -> str:
    return "other files" if isinstance(value, dict) else show_value(value)


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
    names = ("train_loss", "val_loss", "macro_f1", "micro_f1", "subset_accuracy")
    return Table(
        key="folds",
        title="Folds: mean ± sd of each fold's best epoch, at 0.5",
        columns=("run", "train loss", "val loss", "macro-F1", "micro-F1", "subset acc."),
        rows=tuple(
            (e.results.name, *(show_spread(e.results.fold_values(name), 3) for name in names))
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
