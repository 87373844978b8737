"""A score as lines of text: per language, per label, the average, the nearest published results."""

from __future__ import annotations

from collections.abc import Iterable

from semeval_kit.submission.score import LanguageScore, Score
from semeval_kit.task.metric_facts import is_low
from semeval_kit.task.task import Task

N_BASELINES = 3


def describe_score(task: Task, score: Score) -> list[str]:
    """Lines that tell a score to people."""
    if not score.accepted:
        return [
            f"rejected (rules of {score.rules}): {score.message}",
            score.explanation,
            *_show_official(score),
        ]
    lines = [f"{task.title} (rules: {score.rules})", ""]
    lines += _show_languages(score)
    for result in score.languages:
        labels = _show_labels(result) if result.labels else []
        lines += ["", *labels, *_show_baselines(task, result)]
    lines += ["", *_show_average(score), *_show_official(score)]
    return [*lines, *(f"warning: {warning}" for warning in score.warnings)]


def _show_languages(score: Score) -> list[str]:
    metrics = list(score.languages[0].metrics)
    rows = [["language", "rows", *metrics]]
    for result in score.languages:
        values = [f"{result.metrics[metric]:.6f}" for metric in metrics]
        rows.append([result.language, str(result.n_examples), *values])
    return _align(rows)


def _show_labels(result: LanguageScore) -> list[str]:
    intensity = any(label.pearson_r is not None for label in result.labels)
    head = [result.language, "support", "predicted", "precision", "recall", "f1"]
    rows = [[*head, "pearson_r"] if intensity else head]
    for label in result.labels:
        values = [label.precision, label.recall, label.f1]
        if label.pearson_r is not None:
            values.append(label.pearson_r)
        counts = [str(label.support), str(label.predicted)]
        rows.append([label.label, *counts, *(f"{value:.4f}" for value in values)])
    return _align(rows)


def _show_baselines(task: Task, result: LanguageScore) -> list[str]:
    metric = task.scoring.metrics[0]
    ours = result.metrics.get(metric)
    if ours is None:
        return []
    published = task.baselines_for(result.language, metric)
    nearest = sorted(published, key=lambda pair: abs(pair[0] - ours))[:N_BASELINES]
    lines = []
    for value, baseline in sorted(nearest, key=lambda pair: -pair[0]):
        note = f"; {baseline.note}" if baseline.note else ""
        lines.append(
            f"  {value:.4f} ({ours - value:+.4f} ours) {baseline.system} [{baseline.source}{note}]"
        )
    return [f"published {metric} nearest to ours ({ours:.4f}):", *lines] if lines else []


def _show_average(score: Score) -> list[str]:
    count, total = len(score.languages), score.denominator
    lines = []
    if count < total:
        lines.append(
            f"{count} of {total} languages: average counts the missing {total - count} as 0"
        )
    elif score.missing:
        lines.append(f"average over the {total} languages of the submission")
    else:
        lines.append(f"average over {total} language{'s' * (total != 1)}")
    return lines


def _show_official(score: Score) -> list[str]:
    lines = []
    for key, value in score.scores.items():
        if key.startswith("avg_"):
            note = " (lower is better; over the languages that are there)" if is_low(key) else ""
            lines.append(f"{key} = {value}{note}")
    return lines


def _align(rows: Iterable[list[str]]) -> list[str]:
    table = list(rows)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
