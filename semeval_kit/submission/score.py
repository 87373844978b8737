"""Scores: what the leaderboard would say, digit for digit, and why it would reject."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.data.reference import Place, Reference, find_references
from semeval_kit.data.texts import number_groups
from semeval_kit.errors import KitError
from semeval_kit.submission import metrics
from semeval_kit.submission import rules as official
from semeval_kit.submission.archive import Contents, read_submission, slice_answers
from semeval_kit.submission.metrics import Beside, count_labels
from semeval_kit.submission.rules import Answers, Rejected, find_members, read_language, read_shared
from semeval_kit.task.metric_facts import METRIC_FACTS, NUMERIC, is_low
from semeval_kit.task.schema import Rules, Target
from semeval_kit.task.task import Task


@dataclass(frozen=True)
class LabelScore:
    """How well one label of a language is predicted."""

    label: str
    support: int
    """Gold positives."""
    predicted: int
    """Predicted positives."""
    precision: float
    recall: float
    f1: float
    pearson_r: float | None = None


@dataclass(frozen=True)
class LanguageScore:
    """How well one language is predicted; metrics are not rounded."""

    language: str
    n_examples: int
    metrics: dict[str, float]
    labels: tuple[LabelScore, ...]


@dataclass(frozen=True)
class Score:
    """The answer of the scorer: `scores` has the keys and the rounding of the official program."""

    task: str
    rules: str
    accepted: bool
    scores: dict[str, float | int]
    message: str = ""
    """What the official program says when it rejects."""
    explanation: str = ""
    """What that means and what to do."""
    languages: tuple[LanguageScore, ...] = ()
    denominator: int = 0
    """How many languages the averages run over."""
    missing: tuple[str, ...] = ()
    """Languages of the average that the submission leaves out."""
    unscored: tuple[str, ...] = ()
    """Languages of the submission for which no gold is at hand."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The score as plain JSON values; NaN, as the rules of 2025 can give, becomes null."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Score:
        """The score that `to_json` gave; other keys are passed over, null stays None."""
        fields = cls.__dataclass_fields__
        kept: dict[str, Any] = {key: value for key, value in stored.items() if key in fields}
        languages = tuple(
            LanguageScore(
                language=entry["language"],
                n_examples=entry["n_examples"],
                metrics=dict(entry["metrics"]),
                labels=tuple(LabelScore(**label) for label in entry["labels"]),
            )
            for entry in kept.pop("languages", ())
        )
        kept |= {key: tuple(kept[key]) for key in ("missing", "unscored", "warnings")}
        return cls(**kept, languages=languages)


def score_submission(
    task: Task,
    submission_path: str | Path,
    gold: Place,
    rules: str | None = None,
    *,
    probs: Mapping[str, NDArray[np.float64]] | None = None,
) -> Score:
    """Score a zip or folder against gold labels by the official arithmetic.

    `gold` is a folder, a file for one language, or references. `rules`: "2026", "2025" or
    "generic"; default is the task's. `probs`: language -> (n_examples, n_labels) in the gold's
    order, for metrics of probabilities such as macro_auc.

    Raises:
        KitError: gold is missing or blank, or the archive is dangerous.
    """
    rules_name = rules or task.scoring.rules
    if rules_name not in get_args(Rules):
        raise KitError(f"rules '{rules_name}' are unknown. Use {', '.join(get_args(Rules))}.")
    if rules_name != "generic" and not set(task.scoring.metrics) <= set(official.METRICS_2025):
        raise KitError(f"task {task.name} has no rules of {rules_name}. Use --rules generic.")
    contents = read_submission(submission_path)
    if contents.hazards:
        raise KitError("\n".join(hazard.message for hazard in contents.hazards))
    try:
        return _score(task, contents, gold, rules_name, probs or {})
    except Rejected as rejection:
        return _reject(task, rules_name, str(rejection))


def measure_answers(
    task: Task, reference: Reference, preds: NDArray[Any], gold: NDArray[Any]
) -> dict[str, float]:
    """The task's metrics of the answers of one language.

    With several targets each has its own, named `target_metric`, and each metric of
    `scoring.metrics` is the mean over the targets that have it. Excluded labels leave F1, precision
    and recall; whole rows are compared as they are.

    Args:
        task: metrics, targets and what they need.
        reference: groups and columns that metrics need.
        preds: `(n_examples, n_labels)`, NaN where a target is left out.
        gold: the same shape, NaN where not annotated.
    """
    beside = find_beside(task, reference)
    main = task.main_targets
    values: dict[str, float] = {}
    slices = slice_answers(task, reference.labels)
    for target in main:
        columns = slices[target.name]
        scored = np.array(task.scoring.counted(reference.labels[columns]))
        if np.isnan(preds[:, columns]).all():
            continue
        for name in task.metrics_of(target):
            if name in metrics.METRICS and not is_unmet(name, beside):
                key = name if len(main) == 1 else f"{target.name}_{name}"
                metric = metrics.find(name)
                rows = _group_rows(task, reference, len(gold))
                parts = [
                    metric(gold[r, columns], preds[r, columns], scored, beside.take(r))
                    for r in rows
                ]
                values[key] = sum(parts) / len(parts)
    if len(main) > 1:
        for name in task.scoring.metrics:
            keys = [k for k in (f"{target.name}_{name}" for target in main) if k in values]
            if keys:
                values[name] = sum(values[key] for key in keys) / len(keys)
    return values


def find_beside(task: Task, reference: Reference) -> Beside:
    """What metrics need of a gold file beside its labels, where it has that."""
    cells = reference.kept.get(task.scoring.reverse_column)
    reverse = None if cells is None else metrics.pair_rows(reference.ids, cells)
    return _gather(task, task.main_targets[0], reference, reverse)


def find_beside_rows(task: Task, target: Target, examples: Examples) -> Beside:
    """What metrics need of labelled rows of the task's own data, which may lack some of it."""
    reverse = None
    if task.rules.reversal and examples.pairs:
        keys = list(zip(examples.languages, number_groups(examples).tolist(), strict=True))
        reverse = metrics.pair_swapped(keys, examples.texts, examples.pairs)
    return _gather(task, target, examples, reverse)


def is_unmet(name: str, beside: Beside) -> bool:
    """Whether a metric lacks what it needs of the gold file."""
    needs = METRIC_FACTS[name].needs
    there = {"spread": beside.spreads, "reverse": beside.reverse, "groups": beside.groups}
    return needs in there and there[needs] is None


def _score(
    task: Task,
    contents: Contents,
    gold: Place,
    rules: str,
    probs: Mapping[str, NDArray[np.float64]],
) -> Score:
    members = find_members(task, contents, rules)
    codes = {code for _, code in members if code is not None} or set(task.scoring.languages)
    references = find_references(task, gold, only=codes)
    shared = any(code is None for _, code in members)
    submitted = sorted(references if shared else codes)
    unscored = tuple(language for language in submitted if language not in references)
    if len(unscored) == len(submitted):
        raise KitError(
            f"there is no gold for the submission's languages ({', '.join(submitted)}). Give gold "
            "for one of them."
        )
    read = read_shared(task, contents, members, references)
    answers = [
        read_language(task, contents, members, references[language], rules)
        if rules != "generic" or language not in read
        else read[language]
        for language in submitted
        if language not in unscored
    ]
    results = [_score_language(task, entry, rules, probs) for entry in answers]
    warnings = [
        f"{language}: not scored, since there is no gold for it; the averages count it as 0"
        for language in unscored
    ]
    warnings += _list_unmet(task, answers[0], probs)
    denominator = _denominator(task, rules, len(submitted))
    return Score(
        task=task.name,
        rules=rules,
        accepted=True,
        scores=_summarise(task, rules, results, denominator),
        languages=tuple(results),
        denominator=denominator,
        missing=tuple(name for name in task.scoring.languages if name not in submitted),
        unscored=unscored,
        warnings=tuple(warnings),
    )


def _score_language(
    task: Task, answers: Answers, rules: str, probs: Mapping[str, NDArray[np.float64]]
) -> LanguageScore:
    reference, gold, preds = answers.reference, answers.gold, answers.preds
    if rules == "2025":
        scored = np.array(task.scoring.counted(reference.labels))
        values = {
            name: official.METRICS_2025[name](gold[:, scored], preds[:, scored])
            for name in task.scoring.metrics
        }
    else:
        values = measure_answers(task, reference, preds, gold)
    if "macro_auc" in task.scoring.metrics and reference.language in probs:
        values["macro_auc"] = metrics.macro_auc(gold, probs[reference.language])
    return LanguageScore(reference.language, len(gold), values, _score_labels(task, answers))


def _list_unmet(
    task: Task, answers: Answers, probs: Mapping[str, NDArray[np.float64]]
) -> list[str]:
    """Why a metric of the task is not computed."""
    beside = find_beside(task, answers.reference)
    warnings = [
        f"{name} is not computed: {answers.reference.place} lacks the column that it needs"
        for name in task.scoring.metrics
        if is_unmet(name, beside)
    ]
    if "macro_auc" in task.scoring.metrics and not probs:
        warnings.append("macro_auc needs probabilities, which a submission does not hold")
    return warnings


def _score_labels(task: Task, answers: Answers) -> tuple[LabelScore, ...]:
    """Counts of each label; none of targets that are real numbers."""
    gold, preds, main = answers.gold, answers.preds, task.main_targets
    kinds = [target.kind for target in main for _ in target.labels]
    if len(main) == 1:
        kinds = [main[0].kind] * len(answers.reference.labels)
    counts = count_labels(gold, preds)
    scores = []
    for i, (label, count) in enumerate(zip(answers.reference.labels, counts, strict=True)):
        if kinds[i] in NUMERIC:
            continue
        figures = (count.support, count.tp + count.fp, count.precision, count.recall, count.f1)
        graded = kinds[i] == "intensity"
        r = metrics.pearson(gold[:, i].tolist(), preds[:, i].tolist()) if graded else None
        scores.append(LabelScore(label, *figures, r))
    return tuple(scores)


def _summarise(
    task: Task, rules: str, results: list[LanguageScore], denominator: int
) -> dict[str, float | int]:
    """The official keys and rounding: once, at 6 decimals (2026), or at 4 (2025)."""
    digits = 4 if rules == "2025" else 6
    there = results[0].metrics
    computed = [name for name in task.scoring.metrics if name in there]
    computed += [name for name in there if name not in computed]
    scores: dict[str, float | int] = {}
    for name in computed:
        # An error cannot count a missing language as 0: that would be the best value.
        total = sum(result.metrics[name] for result in results)
        scores[f"avg_{name}"] = round(
            total / (len(results) if is_low(name) else denominator), digits
        )
    scores["languages_scored"] = len(results)
    shown = computed[:1] if rules == "2026" else computed
    for result in results:
        for name in shown:
            scores[f"{result.language}_{name}"] = round(result.metrics[name], digits)
    return scores


def _denominator(task: Task, rules: str, n_submitted: int) -> int:
    """All supported languages, unless the rules leave missing ones out."""
    if rules == "2025" or task.scoring.missing_languages == "skip":
        return n_submitted
    return len(task.scoring.languages)


def _reject(task: Task, rules: str, message: str) -> Score:
    zeros: dict[str, float | int] = {
        f"avg_{name}": math.nan if METRIC_FACTS[name].low_is_better else 0.0
        for name in task.scoring.metrics
    }
    return Score(
        task=task.name,
        rules=rules,
        accepted=False,
        scores={**zeros, "languages_scored": 0},
        message=message,
        explanation=(
            "One bad file rejects the whole submission: every language scores 0, though the "
            "site shows it as Finished. `semeval-kit validate` lists all that is wrong."
        ),
        denominator=len(task.scoring.languages),
        missing=task.scoring.languages,
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _gather(
    task: Task, target: Target, rows: Reference | Examples, reverse: NDArray[np.int64] | None
) -> Beside:
    cells = rows.kept.get(task.scoring.spread_column)
    spreads = None if cells is None else np.array([_to_number(cell) for cell in cells])
    # Which label each label becomes when the texts are swapped, -1 for none.
    number = {label: place for place, label in enumerate(target.labels)}
    turned = tuple(number.get(task.rules.reversal.get(label, ""), -1) for label in target.labels)
    return Beside(spreads, reverse, turned, np.array(rows.groups) if rows.groups else None)


def _group_rows(task: Task, reference: Reference, n_rows: int) -> list[NDArray[np.intp]]:
    """The rows that each figure runs over: all, or those of each group."""
    if task.scoring.average == "rows" or not reference.groups:
        return [np.arange(n_rows)]
    groups = np.asarray(reference.groups)
    return [np.flatnonzero(groups == group) for group in dict.fromkeys(reference.groups)]


def _to_number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
