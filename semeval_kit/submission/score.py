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
from semeval_kit.submission.archive import Contents, read_submission
from semeval_kit.submission.layout import read_predictions
from semeval_kit.submission.rules import Rejected
from semeval_kit.task.schema import Rules
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
        known: dict[str, Any] = {key: value for key, value in stored.items() if key in fields}
        languages = tuple(
            LanguageScore(
                language=entry["language"],
                n_examples=entry["n_examples"],
                metrics=dict(entry["metrics"]),
                labels=tuple(LabelScore(**label) for label in entry["labels"]),
            )
            for entry in known.pop("languages", ())
        )
        known |= {key: tuple(known[key]) for key in ("missing", "unscored", "warnings")}
        return cls(**known, languages=languages)


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
    chosen = rules or task.scoring.rules
    if chosen not in get_args(Rules):
        raise KitError(f"rules '{chosen}' are unknown. Use {', '.join(get_args(Rules))}.")
    if chosen != "generic" and set(task.scoring.metrics) - {"macro_f1", "micro_f1", "pearson_r"}:
        raise KitError(f"task {task.name} has no rules of {chosen}. Use --rules generic.")
    contents = read_submission(submission_path)
    if contents.hazards:
        raise KitError("\n".join(hazard.message for hazard in contents.hazards))
    try:
        return _score(task, contents, gold, chosen, probs or {})
    except Rejected as rejection:
        return _reject(task, chosen, str(rejection))


def find_members(
    task: Task, contents: Contents, rules: str, languages: tuple[str, ...]
) -> dict[str, str]:
    """Language -> member, as the rules find them.

    Raises:
        Rejected: there is none, or one is of a language that is not supported.
    """
    if rules == "2026":
        members = official.find_members_2026([*contents.files, *contents.all_folders()])
    else:
        members = _find_by_pattern(task, contents)
    if rules == "2025":
        _check_folder(task, contents, members)
    unsupported = sorted(language for language in members if language not in languages)
    if unsupported:
        raise Rejected(f"Unsupported prediction files for languages: {', '.join(unsupported)}")
    return {language: members[language] for language in sorted(members)}


def _score(
    task: Task,
    contents: Contents,
    gold: Place,
    rules: str,
    probs: Mapping[str, NDArray[np.float64]],
) -> Score:
    members = find_members(task, contents, rules, task.scoring.languages)
    references = find_references(task, gold, only=members)
    unscored = tuple(language for language in members if language not in references)
    results = [
        _score_language(task, contents, members[language], references[language], rules, probs)
        for language in members
        if language not in unscored
    ]
    if not results:
        raise KitError(
            f"there is no gold for the submission's languages ({', '.join(members)}). Give gold "
            "for one of them."
        )
    denominator = _denominator(task, rules, len(members))
    warnings = [
        f"{language}: not scored, since there is no gold for it; the averages count it as 0"
        for language in unscored
    ]
    if "macro_auc" in task.scoring.metrics and not probs:
        warnings.append("macro_auc needs probabilities, which a submission does not hold")
    return Score(
        task=task.name,
        rules=rules,
        accepted=True,
        scores=_summarise(task, rules, results, denominator),
        languages=tuple(results),
        denominator=denominator,
        missing=tuple(name for name in task.scoring.languages if name not in members),
        unscored=unscored,
        warnings=tuple(warnings),
    )


def _score_language(
    task: Task,
    contents: Contents,
    member: str,
    reference: Reference,
    rules: str,
    probs: Mapping[str, NDArray[np.float64]],
) -> LanguageScore:
    name, gold = PurePosixPath(member).name, require_gold(reference)
    if member not in contents.files:
        raise Rejected(f"IsADirectoryError: [Errno 21] Is a directory: '{member}'")
    data = contents.files[member]
    if rules == "2026":
        preds: NDArray[Any] = official.read_2026(data, name, reference, task.max_value)
    elif rules == "2025":
        rows, preds = official.read_2025(data, name, reference, intensity=task.kind == "intensity")
        gold = gold[rows]
    else:
        found = read_predictions(task, data, name, reference.language, reference)
        if found.problems.count:
            raise Rejected("\n".join(found.problems.lines))
        preds = found.preds
    values = _measure(task, reference, gold, preds, rules)
    if "macro_auc" in task.scoring.metrics and reference.language in probs:
        values["macro_auc"] = metrics.macro_auc(gold, probs[reference.language])
    labels = _score_labels(task, reference, gold, preds)
    return LanguageScore(reference.language, len(gold), values, labels)


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


def _measure(
    task: Task, reference: Reference, gold: NDArray[Any], preds: NDArray[Any], rules: str
) -> dict[str, float]:
    """Excluded labels leave F1, precision and recall; whole rows are compared as they are."""
    scored = np.array([label not in task.scoring.excluded_labels for label in reference.labels])
    values: dict[str, float] = {}
    for name in task.scoring.metrics:
        if rules == "2025":
            values[name] = official.METRICS_2025[name](gold[:, scored], preds[:, scored])
        elif name in metrics.METRICS:
            values[name] = metrics.find(name)(gold, preds, scored)
    return values


def _score_labels(
    task: Task, reference: Reference, gold: NDArray[Any], preds: NDArray[Any]
) -> tuple[LabelScore, ...]:
    counts = metrics.count_labels(gold, preds)
    intensity = task.kind == "intensity"
    r: list[float | None] = [None] * len(counts)
    if intensity:
        r = list(metrics.pearson_by_label(gold, preds))
    return tuple(
        LabelScore(label, c.support, c.tp + c.fp, c.precision, c.recall, c.f1, value)
        for label, c, value in zip(reference.labels, counts, r, strict=True)
    )


def _summarise(
    task: Task, rules: str, results: list[LanguageScore], denominator: int
) -> dict[str, float | int]:
    """The official keys and rounding: once, at 6 decimals (2026), or at 4 (2025)."""
    digits = 4 if rules == "2025" else 6
    computed = [metric for metric in task.scoring.metrics if metric in results[0].metrics]
    scores: dict[str, float | int] = {}
    for metric in computed:
        total = sum(result.metrics[metric] for result in results)
        scores[f"avg_{metric}"] = round(total / denominator, digits)
    scores["languages_scored"] = len(results)
    shown = computed[:1] if rules == "2026" else computed
    for result in results:
        for metric in shown:
            scores[f"{result.language}_{metric}"] = round(result.metrics[metric], digits)
    return scores


def _denominator(task: Task, rules: str, n_submitted: int) -> int:
    """All supported languages, unless the rules leave missing ones out."""
    if rules == "2025" or task.scoring.missing_languages == "skip":
        return n_submitted
    return len(task.scoring.languages)


def _reject(task: Task, rules: str, message: str) -> Score:
    zeros: dict[str, float | int] = {f"avg_{metric}": 0.0 for metric in task.scoring.metrics}
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


def _find_by_pattern(task: Task, contents: Contents) -> dict[str, str]:
    """Members whose file name fits the task's pattern; a name without {lang} is its only one."""
    pattern = task.submission.name_pattern
    found = {}
    for member in sorted(contents.files):
        match = pattern.fullmatch(PurePosixPath(member).name)
        if match:
            language = match.groupdict().get("lang", task.scoring.languages[0])
            found[language] = member
    if not found:
        raise Rejected(f"no prediction files named {PurePosixPath(task.submission.member).name}")
    return found


def _check_folder(task: Task, contents: Contents, members: Mapping[str, str]) -> None:
    wanted = PurePosixPath(task.submission.folder).name
    for member in members.values():
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
