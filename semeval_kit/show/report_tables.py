"""The tables of the report about scores: published results, labels, languages, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.decision.rule import Thresholds
from semeval_kit.show.comparison_tables import MEASURE_TITLES, SPLIT_TITLES, measure_title
from semeval_kit.show.report_training import tabulate_folds, tabulate_settings
from semeval_kit.show.results import RunResults
from semeval_kit.show.scores import SplitScore
from semeval_kit.show.tables import (
    Table,
    show_interval,
    show_number,
)
from semeval_kit.task.task import Task

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
    oof = results.split_score("oof")
    columns = {} if oof is None else _list_label_columns(results, thresholds, oof)
    rows = [
        (label.label, *(cells.get(label.label, "") for cells in columns.values()))
        for label in (() if oof is None else oof.labels)
    ]
    notes = ["Columns that name no split are those of the out-of-fold rows."]
    if results.task.kind != "singlelabel":
        notes.append("There the rows were decided by cross-fitted thresholds.")
        if len(thresholds.values) > 1:
            notes.append("The thresholds shown are those of all languages together.")
    return Table("labels", "Per label", ("label", *columns), tuple(rows), notes=(" ".join(notes),))


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


def _own_score(results: RunResults, language: str) -> float | None:
    test = results.split_score("test")
    if test is not None:
        return test.languages.get(language)
    found = results.reading("cross_fitted").get("languages", {}).get(language)
    return None if found is None else float(found)


def _list_label_columns(
    results: RunResults, thresholds: Thresholds, oof: SplitScore
) -> dict[str, dict[str, str]]:
    """Column -> label -> cell."""
    name = "r" if results.task.kind == "intensity" else "F1"
    columns = {"positives": {label.label: str(label.positives) for label in oof.labels}}
    if results.task.kind != "singlelabel":
        columns["threshold"] = _show_cuts(results.task, thresholds)
        columns[f"{name} at 0.5"] = _by_label(results.split_score("oof", "half"))
    columns[name] = _by_label(oof)
    columns["95% interval"] = {
        label.label: show_interval(*label.interval, 3) for label in oof.labels if label.interval
    }
    if results.task.kind != "intensity":
        columns["P"] = {label.label: show_number(label.precision, 3) for label in oof.labels}
        columns["R"] = {label.label: show_number(label.recall, 3) for label in oof.labels}
    for split in ("dev", "test"):
        if results.split_score(split) is not None:
            columns[f"{split} {name}"] = _by_label(results.split_score(split))
    return columns


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
