"""The tables of the system paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from semeval_kit.data.examples import Examples
from semeval_kit.data.stats import describe_split
from semeval_kit.decision.rule import Thresholds
from semeval_kit.show.answers import Answers
from semeval_kit.show.comparison_tables import SPLIT_TITLES, measure_title, shown_encoder
from semeval_kit.show.markup import shorten
from semeval_kit.show.mistakes import find_hardest, find_wrong
from semeval_kit.show.results import RunResults
from semeval_kit.show.scores import SplitScore
from semeval_kit.show.tables import (
    Table,
    show_count,
    show_interval,
    show_number,
    show_seconds,
)
from semeval_kit.submission.metrics import count_labels
from semeval_kit.task.task import Task

_TEXT_LENGTH = 180
_N_EXAMPLES = 5


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


def tabulate_main(results: RunResults) -> Table:
    """The headline metric: untuned, tuned in-sample, cross-fitted, dev and test."""
    metric = measure_title(results.metric, results.task.kind)
    named = {
        "at_half": "out of fold, threshold 0.5",
        "tuned_in_sample": "out of fold, tuned on the same rows (optimistic)",
        "cross_fitted": "out of fold, cross-fitted thresholds",
    }
    if results.task.kind == "singlelabel":
        named = {"cross_fitted": "out of fold"}
    rows = []
    for name, title in named.items():
        reading = results.reading(name)
        if reading:
            interval = show_interval(reading["low"], reading["high"])
            n_rows = str(results.estimate["n_examples"])
            rows.append((title, n_rows, show_number(reading["score"]), interval))
    for split in ("dev", "test"):
        score = results.split_score(split)
        if score is not None:
            rows.append(
                (
                    _name_rows(results, split),
                    str(score.n_examples),
                    show_number(score.score),
                    _show_interval(score.interval, 4),
                )
            )
    return Table(
        "main", f"Main results: {metric}", ("rows", "n", metric, "95% interval"), tuple(rows)
    )


def _name_rows(results: RunResults, split: str) -> str:
    shown = f"{split}, mean over folds" if len(results.folds) > 1 else split
    return f"{shown} (trained on)" if split in results.settings["train_splits"] else shown


def tabulate_labels(results: RunResults, score: SplitScore) -> Table:
    """Precision, recall and F1 (or r) of every label on one split, then the measures."""
    intensity = results.task.kind == "intensity"
    rows = []
    for label in score.labels:
        shares = (
            () if intensity else (show_number(label.precision, 3), show_number(label.recall, 3))
        )
        score_cells = (show_number(label.score, 3), _show_interval(label.interval))
        rows.append((label.label, str(label.positives), *shares, *score_cells))
    for measure, value in score.measures.items():
        interval = _show_interval(score.interval) if measure == score.metric else ""
        title = measure_title(measure, results.task.kind)
        rows.append((title, "", *(() if intensity else ("", "")), show_number(value, 3), interval))
    name = "r" if intensity else "F1"
    tuned = score.split == "oof" and results.task.kind != "singlelabel"
    return Table(
        f"labels-{score.split}",
        f"Per label, {SPLIT_TITLES[score.split]}",
        ("label", "positives", *(() if intensity else ("P", "R")), name, "95% interval"),
        tuple(rows),
        notes=("Cross-fitted: no row is judged by a threshold that it helped to choose.",) * tuned,
    )


def tabulate_languages(results: RunResults) -> Table:
    """The headline metric per language and split."""
    splits = {name: rules["tuned"].languages for name, rules in results.splits.items()}
    languages = list(dict.fromkeys(code for column in splits.values() for code in column))
    return Table(
        "languages",
        f"{measure_title(results.metric, results.task.kind)} per language",
        ("language", *(SPLIT_TITLES[name] for name in splits)),
        tuple(
            (code, *(show_number(column.get(code)) for column in splits.values()))
            for code in languages
        ),
    )


def tabulate_thresholds(results: RunResults, thresholds: Thresholds) -> list[Table]:
    """Per language: thresholds, and the score of each label at 0.5 and with them."""
    readings = [results.reading(n) for n in ("at_half", "tuned_in_sample", "cross_fitted")]
    if results.task.kind == "singlelabel" or not all(readings):
        return []
    name = "r" if results.task.kind == "intensity" else "F1"
    tables = []
    for language, values in thresholds.values.items():
        cells = _name_cuts(results.task, thresholds, language, values)
        columns = [reading["labels"].get(language, {}) for reading in readings]
        rows = [
            (label, cut, *(show_number(column.get(label), 3) for column in columns))
            for label, cut in cells.items()
            if cut
        ]
        tables.append(
            Table(
                f"thresholds-{language}",
                f"Thresholds against 0.5, {language}, out of fold",
                ("label", "threshold", f"{name} at 0.5", "in-sample", "cross-fitted"),
                tuple(rows),
                notes=("Cross-fitted: each fold by thresholds tuned on the others.",),
            )
        )
    return tables


def tabulate_machine(results: RunResults) -> Table:
    """Hardware, time, size and versions."""
    machine, versions = results.settings.get("machine", {}), results.settings.get("versions", {})
    rows = [
        ("encoder", shown_encoder(results.encoder)),
        ("parameters", show_count(results.parameters)),
        ("trainable parameters", show_count(results.trainable_parameters)),
        ("models", str(len(results.folds))),
        ("training time, all folds", show_seconds(results.seconds)),
        ("largest memory of a fold", f"{results.peak_rss_mb:.0f} MB"),
        *((f"machine: {name}", str(value)) for name, value in machine.items()),
        *((f"version of {name}", str(value)) for name, value in versions.items()),
    ]
    return Table("machine", "Hardware, time, size and versions", ("what", "value"), tuple(rows), 2)


def tabulate_confusion(task: Task, answers: Answers) -> Table | None:
    """Counts of right and wrong answers per label; None for intensities."""
    if task.kind == "intensity":
        return None
    counts = count_labels(answers.gold, answers.tuned)
    rows = []
    for column, (label, count) in enumerate(zip(task.all_labels, counts, strict=True)):
        n_known = int((~np.isnan(answers.gold[:, column])).sum())
        rest = n_known - count.tp - count.fp - count.fn
        rows.append((label, *(str(n) for n in (count.tp, count.fp, count.fn, rest))))
    return Table(
        "confusion",
        f"Right and wrong answers per label, {SPLIT_TITLES[answers.split]}",
        ("label", "true pos.", "false pos.", "false neg.", "true neg."),
        tuple(rows),
    )


def tabulate_errors(task: Task, answers: Answers) -> list[Table]:
    """The examples that cost most, and the answers that were surest and wrong."""
    place = SPLIT_TITLES[answers.split]
    hardest = [
        (e.gold, e.pred, f"{e.loss:.2f}", shorten(e.text, _TEXT_LENGTH))
        for e in find_hardest(task, answers, _N_EXAMPLES)
    ]
    wrong = [
        (w.target, "yes" if w.is_gold else "no", f"{w.prob:.2f}", shorten(w.text, _TEXT_LENGTH))
        for w in find_wrong(task, answers, _N_EXAMPLES)
    ]
    widths = (0.17, 0.17, 0.08, 0.46)
    return [
        Table(
            "hardest", f"Examples with the highest loss, {place}",
            ("gold", "predicted", "loss", "text"), tuple(hardest), 4, widths,
        ),
        Table(
            "surest", f"Surest wrong answers, {place}",
            ("label", "gold", "prob", "text"), tuple(wrong), 4, widths,
        ),
    ]  # fmt: skip


def _show_share(task: Task, stats: Any, label: str) -> str:
    if label not in stats.labels:
        return ""
    if task.max_value > 1:
        levels = (stats.values[label].get(str(n), 0) for n in range(1, task.max_value + 1))
        return " / ".join(map(str, levels))
    count, known = stats.positives()[label], stats.annotated[label]
    return f"{count} ({100 * count / max(known, 1):.0f}%)"


def _name_cuts(task: Task, thresholds: Thresholds, language: str, values: Any) -> dict[str, str]:
    """Label -> its thresholds in words; empty where the language does not have the label."""
    rule = thresholds.intensity
    table = np.reshape(values, (len(task.all_labels), -1))
    if rule is not None and rule.method == "expected_value":
        table = rule.cuts.get(language, rule.joint)
    return {
        label: "" if np.isnan(row).all() else " / ".join(show_number(float(c), 3) for c in row)
        for label, row in zip(task.all_labels, table, strict=True)
    }


def _show_interval(interval: tuple[float, float] | None, digits: int = 3) -> str:
    return show_interval(interval[0], interval[1], digits) if interval else ""
