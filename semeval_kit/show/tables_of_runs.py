"""The tables about how a run was made: data, folds, recipe, machine, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples
from semeval_kit.data.stats import describe_split
from semeval_kit.show.results import FoldResult, RunResults
from semeval_kit.show.tabulate import Table, show_count, show_number, show_seconds, show_spread
from semeval_kit.show.wording import name_encoder, name_measure
from semeval_kit.task.task import Task

_FOLD_MEASURES = ("macro_f1", "micro_f1", "weighted_f1", "subset_accuracy")
_MACHINE = {"cpu": "processor", "memory_gb": "memory, GB", "gpu": "GPU"}

# What it means where a recipe leaves a field open: None, in older runs 0 or less.
_OPEN = {
    "lr": "by the encoder's width",
    "hidden_dropout": "the encoder's own",
    "attention_dropout": "the encoder's own",
}


def tabulate_data(task: Task, splits: Mapping[str, Examples]) -> Table:
    """Rows and positives per label of every split and language; levels for intensities."""
    rows = []
    for split, examples in splits.items():
        for language in dict.fromkeys(examples.languages):
            stats = describe_split(examples, language, split)
            is_annotated = bool(stats.labels)
            rows.append(
                (
                    language,
                    split,
                    str(stats.n_rows),
                    str(stats.n_neutral) if is_annotated else "",
                    f"{stats.mean_labels:.2f}" if is_annotated else "",
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
    trained = ("best_epoch", "train_loss", "val_loss") if results.member == "encoder" else ()
    measures = dict.fromkeys((*_FOLD_MEASURES, results.metric))
    names = [name for name in (*trained, *measures) if results.fold_values(name)]
    rows = [
        (
            fold.name,
            *(_show_of_fold(fold, name) for name in names),
            show_seconds(fold.seconds),
            f"{fold.peak_rss_mb:.0f} MB",
        )
        for fold in results.folds
    ]
    if len(rows) > 1:
        spread = [
            "" if name == "best_epoch" else show_spread(results.fold_values(name), 3)
            for name in names
        ]
        memory = f"{results.peak_rss_mb:.0f} MB"
        rows.append(("mean ± sd", *spread, f"Σ {show_seconds(results.seconds)}", memory))
    named = {"best_epoch": "epoch", "train_loss": "train loss", "val_loss": "val. loss"}
    titles = [named.get(name) or name_measure(name, results.task.kind) for name in names]
    kept = f"At the epoch that was kept; measures on rows held out, {results.wording.untuned}."
    return Table(
        "folds",
        "Per fold",
        ("fold", *titles, "time", "memory"),
        tuple(rows),
        notes=(kept,) if names else (),
    )


def _show_of_fold(fold: FoldResult, name: str) -> str:
    if name == "best_epoch":
        return str(fold.best_epoch)
    return show_number(getattr(fold, name) if hasattr(fold, name) else fold.measures.get(name))


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


def _show_share(task: Task, stats: Any, label: str) -> str:
    if label not in stats.labels:
        return ""
    if task.max_value > 1:
        levels = (stats.values[label].get(str(n), 0) for n in range(1, task.max_value + 1))
        return " / ".join(map(str, levels))
    count, annotated = stats.positives()[label], stats.annotated[label]
    return f"{count} ({100 * count / max(annotated, 1):.0f}%)"
