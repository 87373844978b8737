"""The tables of the report about training: folds, recipe, machine, data files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semeval_kit.show.comparison_tables import MEASURE_TITLES
from semeval_kit.show.results import RunResults
from semeval_kit.show.tables import (
    Table,
    show_count,
    show_number,
    show_seconds,
    show_spread,
)


def tabulate_folds(results: RunResults) -> Table:
    """One row per fold at its kept epoch, then mean and standard deviation."""
    names = [
        name
        for name in ("macro_f1", "micro_f1", "weighted_f1", "accuracy", "subset_accuracy")
        if any(name in fold.measures for fold in results.folds)
    ]
    rows = [
        (
            str(fold.fold),
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
    titles = {**MEASURE_TITLES, "subset_accuracy": "subset accuracy"}
    if results.task.kind == "singlelabel":
        titles["subset_accuracy"] = "accuracy"
    return Table(
        "folds",
        "Per fold",
        (
            "fold",
            "kept epoch",
            "training loss",
            "validation loss",
            *(titles.get(name, name) for name in names),
            "time",
            "memory",
        ),
        tuple(rows),
        notes=("Measures on the rows held out, at threshold 0.5.",),
    )


def tabulate_settings(results: RunResults) -> tuple[Table, ...]:
    """Recipe, versions and machine, and the files of data and encoder."""
    settings = results.settings
    machine = {
        "parameters": show_count(results.parameters),
        "of which trained": show_count(results.trainable_parameters),
        **settings.get("machine", {}),
        **{f"version of {name}": v for name, v in settings.get("versions", {}).items()},
    }
    hashes = {
        **settings.get("data_sha256", {}),
        **{f"encoder: {name}": v for name, v in settings.get("encoder_sha256", {}).items()},
    }
    files = {name: str(value)[:16] for name, value in hashes.items()}
    return (
        Table("recipe", "Recipe", ("field", "value"), _pairs(results.recipe), n_text=2),
        Table("machine", "Machine and versions", ("what", "value"), _pairs(machine), n_text=2),
        Table(
            "data",
            "Files that the run was made with",
            ("file", "sha256 (first 16 digits)"),
            _pairs(files),
            n_text=2,
        ),
    )


def _pairs(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), _show_value(value)) for name, value in values.items())


def _show_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_show_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_show_value(item) for item in value)
    return "–" if value in ("", None) else str(value)
