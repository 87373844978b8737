"""The tables of the report: published results, labels, languages, folds, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semeval_kit.analysis.comparison_tables import MEASURE_TITLES, SPLIT_TITLES, measure_title
from semeval_kit.analysis.results import RunResults
from semeval_kit.analysis.scores import SplitScore
from semeval_kit.analysis.tables import (
    Table,
    show_count,
    show_interval,
    show_number,
    show_seconds,
    show_spread,
)
from semeval_kit.competition.task import Task
from semeval_kit.decision.rules import FloatArray, Thresholds

_N_BASELINES = 6
OWN = "–"
"""The source of the run's own row among published results."""


def list_tables(results: RunResults, thresholds: Thresholds) -> dict[str, Table]:
    """The tables that have rows, by key."""
    tables = (
        tabulate_baselines(results),
        tabulate_labels(results, thresholds),
        tabulate_languages(results),
        tabulate_thresholds(results, thresholds),
        tabulate_measures(results),
        tabulate_official(results.official),
        tabulate_folds(results),
        *tabulate_settings(results),
    )
    return {table.key: table for table in tables if table.rows}


def tabulate_baselines(results: RunResults) -> Table:
    """The published results nearest to this run's: several for one language, one for each of many.

    A published value is on the official test split; the run's own too, if its labels are known.
    """
    kind = "test" if results.split_score("test") else "expected"
    metric = measure_title(results.metric, results.task.kind)
    found = {}
    for language in results.settings["languages"]:
        own = _own_score(results, language)
        published = results.task.baselines_for(language, results.metric)
        if own is not None and published:
            found[language] = (own, sorted(published, key=lambda pair: abs(pair[0] - own)))
    notes = ("Published values are on the official test split.",)
    if len(results.settings["languages"]) > 1:
        rows = [
            (language, show_number(own), show_number(value), nearest.system, nearest.source)
            for language, (own, ((value, nearest), *_)) in found.items()
        ]
        columns = ("language", f"this run ({kind})", metric, "system", "source")
        return Table("baselines", "Nearest published results", columns, tuple(rows), 5, notes=notes)
    lines = [
        line
        for own, published in found.values()
        for line in [
            (own, f"this run ({kind})", OWN),
            *((value, b.system, b.source) for value, b in published[:_N_BASELINES]),
        ]
    ]
    ordered = sorted(lines, key=lambda line: -line[0])
    return Table(
        "baselines",
        "Nearest published results",
        (metric, "system", "source"),
        tuple((show_number(value), system, source) for value, system, source in ordered),
        n_text=3,
        notes=notes,
    )


def tabulate_labels(results: RunResults, thresholds: Thresholds) -> Table:
    """One row per label: threshold, and scores on every split whose gold labels are known."""
    cuts = _show_cuts(results.task, thresholds)
    tuned, half = results.split_score("oof"), results.split_score("oof", "half")
    others = {split: results.split_score(split) for split in ("dev", "test")}
    shown = {split: _by_label(score) for split, score in others.items() if score is not None}
    plain = _by_label(half)
    name = "r" if results.task.kind == "intensity" else "F1"
    with_cuts = results.task.kind != "singlelabel"
    rows = []
    for label in tuned.labels if tuned is not None else ():
        interval = show_interval(*label.interval, 3) if label.interval else ""
        rows.append(
            (
                label.label,
                str(label.positives),
                *((cuts.get(label.label, ""), plain.get(label.label, "")) if with_cuts else ()),
                show_number(label.score, 3),
                interval,
                *(
                    ()
                    if label.precision is None
                    else (show_number(label.precision, 3), show_number(label.recall, 3))
                ),
                *(column.get(label.label, "") for column in shown.values()),
            )
        )
    scores = ("P", "R") if results.task.kind != "intensity" else ()
    columns = (
        "label",
        "positives",
        *(("threshold", f"{name} at 0.5") if with_cuts else ()),
        name,
        "95% interval",
        *scores,
        *(f"{split} {name}" for split in shown),
    )
    return Table(
        "labels",
        "Per label",
        columns,
        tuple(rows),
        notes=(
            f"Positives, {name}, interval{', P and R' if scores else ''} are those of the "
            "out-of-fold rows"
            + (", decided by cross-fitted thresholds." if with_cuts else ".")
            + (
                " The thresholds shown are those of all languages together."
                if with_cuts and len(thresholds.values) > 1
                else ""
            ),
        ),
    )


def tabulate_languages(results: RunResults) -> Table:
    """One row per language, if there are several."""
    languages = list(results.settings["languages"])
    readings = {
        "at 0.5": results.reading("at_half").get("languages", {}),
        "expected": results.reading("cross_fitted").get("languages", {}),
    }
    for split in ("dev", "test"):
        score = results.split_score(split)
        if score is not None:
            readings[split] = score.languages
    rows = [
        (language, *(show_number(values.get(language)) for values in readings.values()))
        for language in languages
    ]
    return Table(
        "languages",
        "Per language",
        ("language", *readings),
        tuple(rows) if len(languages) > 1 else (),
        notes=(f"{measure_title(results.metric, results.task.kind)} of each language.",),
    )


def tabulate_thresholds(results: RunResults, thresholds: Thresholds) -> Table:
    """Thresholds per language, if there are several."""
    several = len(thresholds.values) > 1 and results.task.kind != "singlelabel"
    rows = [
        (language, *(show_number(value, 3) or "–" for value in values))
        for language, values in thresholds.values.items()
    ]
    rows.append(("all", *(show_number(value, 3) or "–" for value in thresholds.joint)))
    return Table(
        "thresholds",
        "Thresholds per language",
        ("language", *thresholds.target_names),
        tuple(rows) if several else (),
        notes=("A dash: the language does not have the label.",),
    )


def tabulate_measures(results: RunResults) -> Table:
    """Every measure on every split, at 0.5 and tuned."""
    with_rule = results.task.kind != "singlelabel"
    rows = []
    for split, rules in results.splits.items():
        for rule, score in rules.items():
            if rule == "half" and not with_rule:
                continue
            decided = {"half": "0.5", "tuned": "cross-fitted" if split == "oof" else "tuned"}[rule]
            rows.append(
                (
                    SPLIT_TITLES[split],
                    *((decided,) if with_rule else ()),
                    str(score.n_examples),
                    *(show_number(value) for value in score.measures.values()),
                )
            )
    measures = next((r["tuned"].measures for r in results.splits.values()), {})
    names = [MEASURE_TITLES.get(n, measure_title(n, results.task.kind)) for n in measures]
    if results.task.kind == "multilabel" and "accuracy" in measures:
        names[list(measures).index("accuracy")] = "subset accuracy"
    return Table(
        "measures",
        "All measures",
        ("split", *(("thresholds",) if with_rule else ()), "examples", *names),
        tuple(rows),
        n_text=2 if with_rule else 1,
    )


def tabulate_official(official: Mapping[str, Any]) -> Table:
    """What score.json says."""
    rows = [(str(key), str(value)) for key, value in (official.get("scores") or {}).items()]
    notes = [str(official[key]) for key in ("message", "explanation") if official.get(key)]
    if official and not official.get("accepted", True):
        notes.insert(0, "The scorer rejects this zip.")
    return Table(
        "official",
        "What the scorer says of the zip",
        ("score", "value"),
        tuple(rows) or ((("–", "–"),) if notes else ()),
        notes=tuple(notes),
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
    """Recipe, versions and machine, and data files."""
    settings = results.settings
    machine = {
        "parameters": show_count(results.parameters),
        "of which trained": show_count(results.trainable_parameters),
        **settings.get("machine", {}),
        **{f"version of {name}": v for name, v in settings.get("versions", {}).items()},
    }
    data = {name: str(value)[:16] for name, value in settings.get("data_sha256", {}).items()}
    return (
        Table("recipe", "Recipe", ("field", "value"), _pairs(results.recipe), n_text=2),
        Table("machine", "Machine and versions", ("what", "value"), _pairs(machine), n_text=2),
        Table(
            "data",
            "Data files",
            ("file", "sha256 (first 16 digits)"),
            _pairs(data),
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


def _own_score(results: RunResults, language: str) -> float | None:
    test = results.split_score("test")
    if test is not None:
        return test.languages.get(language)
    found = results.reading("cross_fitted").get("languages", {}).get(language)
    return None if found is None else float(found)


def _by_label(score: SplitScore | None) -> dict[str, str]:
    return {label.label: show_number(label.score, 3) for label in score.labels} if score else {}


def _show_cuts(task: Task, thresholds: Thresholds) -> dict[str, str]:
    """The thresholds of each label in words; of one language, or of all together."""
    alone = len(thresholds.values) == 1
    rule = thresholds.intensity
    if rule is not None and rule.method == "expected_value":
        table: FloatArray = next(iter(rule.cuts.values())) if alone else rule.joint
        names: Sequence[str] = rule.label_names
    else:
        chosen = next(iter(thresholds.values.values())) if alone else thresholds.joint
        table = np.reshape(chosen, (len(task.all_labels), -1))
        names = task.all_labels
    return {
        name: " / ".join(show_number(float(cut), 3) or "–" for cut in row)
        for name, row in zip(names, table, strict=True)
    }
