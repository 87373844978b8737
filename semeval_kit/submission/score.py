"""Scores: what the leaderboard would say, digit for digit, and why it would reject."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.reference import Place, Reference, find_references
from semeval_kit.errors import KitError
from semeval_kit.submission import metrics
from semeval_kit.submission import rules as official
from semeval_kit.submission.archive import Contents, join_references, match_member, read_submission
from semeval_kit.submission.measure import find_beside, is_unmet, measure_answers
from semeval_kit.submission.metrics import count_labels
from semeval_kit.submission.reading import read_predictions
from semeval_kit.submission.rules import Rejected
from semeval_kit.task.metric_facts import METRIC_FACTS, NUMERIC, is_low
from semeval_kit.task.schema import Member, Rules
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
    if rules_name != "generic" and set(task.scoring.metrics) - {
        "macro_f1",
        "micro_f1",
        "pearson_r",
    }:
        raise KitError(f"task {task.name} has no rules of {rules_name}. Use --rules generic.")
    contents = read_submission(submission_path)
    if contents.hazards:
        raise KitError("\n".join(hazard.message for hazard in contents.hazards))
    try:
        return _score(task, contents, gold, rules_name, probs or {})
    except Rejected as rejection:
        return _reject(task, rules_name, str(rejection))


@dataclass(frozen=True)
class _Answers:
    """What a submission answers in one language, beside its gold."""

    reference: Reference
    gold: NDArray[Any]
    preds: NDArray[Any]
    """Both `(n_examples, n_labels)`; NaN for targets that the submission leaves out."""


def _score(
    task: Task,
    contents: Contents,
    gold: Place,
    rules: str,
    probs: Mapping[str, NDArray[np.float64]],
) -> Score:
    members = _find_members(task, contents, rules)
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
    read = _read_shared(task, contents, members, references)
    answers = [
        _read_language(task, contents, members, references[language], rules)
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


def _find_members(task: Task, contents: Contents, rules: str) -> dict[tuple[int, str | None], str]:
    """(kind of file, language) -> member, as the rules find them.

    Raises:
        Rejected: there is none, or one is of a language that is not supported.
    """
    members: dict[tuple[int, str | None], str] = {}
    if rules == "2026":
        by_language = official.find_members_2026([*contents.files, *contents.all_folders()])
        members = {(0, language): member for language, member in by_language.items()}
    else:
        for member in sorted(contents.files):
            match = match_member(task, member)
            if match and task.submission.layouts[match[0]].filled:
                members[match] = member
        if not members:
            name = PurePosixPath(task.submission.layouts[0].member).name
            raise Rejected(f"no prediction files named {name}")
    if rules == "2025":
        _check_folder(task, contents, members)
    named = [code for _, code in members if code is not None]
    unsupported = sorted(code for code in named if code not in task.scoring.languages)
    if unsupported:
        raise Rejected(f"Unsupported prediction files for languages: {', '.join(unsupported)}")
    return members


def _read_shared(
    task: Task,
    contents: Contents,
    members: Mapping[tuple[int, str | None], str],
    references: Mapping[str, Reference],
) -> dict[str, _Answers]:
    """Answers per language of files that hold all languages."""
    answers: dict[str, _Answers] = {}
    for (number, language), member in members.items():
        if language is not None:
            continue
        ordered = [references[code] for code in sorted(references)]
        layout = task.submission.layouts[number]
        whole = join_references(ordered)
        preds = _read_generic(task, contents.files[member], member, whole, layout)
        start = 0
        for reference in ordered:
            part = preds[start : start + len(reference.ids)]
            start += len(part)
            earlier = answers.get(reference.language)
            part = part if earlier is None else _merge(earlier.preds, part)
            answers[reference.language] = _Answers(reference, require_gold(reference), part)
    return answers


def _read_language(
    task: Task,
    contents: Contents,
    members: Mapping[tuple[int, str | None], str],
    reference: Reference,
    rules: str,
) -> _Answers:
    gold, preds = require_gold(reference), None
    for (number, language), member in members.items():
        if language != reference.language:
            continue
        name = PurePosixPath(member).name
        if member not in contents.files:
            raise Rejected(f"IsADirectoryError: [Errno 21] Is a directory: '{member}'")
        data = contents.files[member]
        if rules == "2026":
            answers: NDArray[Any] = official.read_2026(data, name, reference, task.max_value)
        elif rules == "2025":
            intensity = task.kind == "intensity"
            rows, answers = official.read_2025(data, name, reference, intensity=intensity)
            gold = gold[rows]
        else:
            answers = _read_generic(task, data, name, reference, task.submission.layouts[number])
        preds = answers if preds is None else _merge(preds, answers)
    assert preds is not None
    return _Answers(reference, gold, preds)


def _read_generic(
    task: Task, data: bytes, name: str, reference: Reference, layout: Member
) -> NDArray[Any]:
    predictions = read_predictions(task, data, name, reference.language, reference, layout)
    if predictions.problems.count:
        raise Rejected("\n".join(predictions.problems.lines))
    return predictions.preds


def _merge(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Answers of files that hold different targets."""
    return np.where(np.isnan(first), second, first)


def _score_language(
    task: Task, answers: _Answers, rules: str, probs: Mapping[str, NDArray[np.float64]]
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
    task: Task, answers: _Answers, probs: Mapping[str, NDArray[np.float64]]
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


def require_gold(reference: Reference) -> NDArray[np.int64]:
    """Gold labels of a reference, (n_examples, n_labels).

    Raises:
        KitError: the labels are blank.
    """
    if reference.gold is None:
        raise KitError(
            f"{reference.place}: labels are blank, so there is nothing to score against (the "
            "organisers' test files come without labels). Give the gold labels, or a split that "
            "has labels."
        )
    return reference.gold


def _score_labels(task: Task, answers: _Answers) -> tuple[LabelScore, ...]:
    """Counts of each label; none of targets that are real numbers."""
    gold, preds, main = answers.gold, answers.preds, task.main_targets
    kinds = [target.kind for target in main for _ in target.labels]
    if len(main) == 1:
        kinds = [main[0].kind] * len(answers.reference.labels)
    counts = count_labels(gold, preds)
    scores = []
    for i, (label, count) in enumerate(zip(answers.reference.labels, counts, strict=True)):
        r = None
        if kinds[i] in NUMERIC:
            continue
        if kinds[i] == "intensity":
            r = metrics.pearson(gold[:, i].tolist(), preds[:, i].tolist())
        scores.append(
            LabelScore(
                label,
                count.support,
                count.tp + count.fp,
                count.precision,
                count.recall,
                count.f1,
                r,
            )
        )
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


def _check_folder(
    task: Task, contents: Contents, members: Mapping[tuple[int, str | None], str]
) -> None:
    for (number, _), member in members.items():
        wanted = PurePosixPath(task.submission.layouts[number].folder).name
        folder = PurePosixPath(member).parent.name
        if not folder and not contents.is_zip:
            folder = Path(contents.place).resolve().name
        if wanted and folder != wanted:
            raise Rejected(f"{member}: must lie in a folder named {wanted}")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
