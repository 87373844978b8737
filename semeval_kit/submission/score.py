"""Scores: what the leaderboard would show, and the detail behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


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


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
