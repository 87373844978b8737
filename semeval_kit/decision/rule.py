"""The rule: what is decided once and applied to every row, from probs to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, Spelled
from semeval_kit.errors import KitError
from semeval_kit.task.metric_facts import NUMERIC


@dataclass(frozen=True, eq=False)
class IntensityRule(Spelled):
    """How the cumulative events of a label become one level.

    Attributes:
        method: "running_and" (thresholds of the events, running AND, sum) or "expected_value"
            (the sum of the event probabilities, compared with cut points).
        n_levels: M, the highest level.
        joint: cut points of the expected value over all languages `(L, M)`, non-decreasing along
            M.
        cuts: the same per language; NaN where a language does not have the label.
        comparison: mean Pearson r of each method by cross-fitting, and the margin of the one kept.
    """

    method: str
    label_names: tuple[str, ...]
    n_levels: int
    joint: FloatArray
    cuts: dict[str, FloatArray]
    comparison: dict[str, Any] = field(default_factory=dict)

    def rows(self, languages: Sequence[str]) -> FloatArray:
        """Cut points of every row `(n, L, M)`; a language never seen gets the joint ones."""
        return _gather(self.cuts, self.joint, languages)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> IntensityRule:
        """The rule that `to_json` wrote, equal in every bit."""
        return cls(
            method=stored["method"],
            label_names=tuple(stored["label_names"]),
            n_levels=int(stored["n_levels"]),
            cuts={language: _to_array(cuts) for language, cuts in stored["cuts"].items()},
            joint=_to_array(stored["joint"]),
            comparison=dict(stored["comparison"]),
        )


@dataclass(frozen=True, eq=False)
class Line(Spelled):
    """How a predicted number becomes the answer: slope * number + intercept.

    Attributes:
        slopes: `(C,)`, above 0, so that ranks stay.
        intercepts: `(C,)`, in the unit of the numbers.
        limits: the range that answers are kept in; None: any number is an answer.
    """

    slopes: FloatArray
    intercepts: FloatArray
    limits: tuple[float, float] | None

    def apply(self, numbers: FloatArray) -> FloatArray:
        """The answers `(n, C)` to numbers `(n, C)`."""
        answers: FloatArray = self.slopes * numbers + self.intercepts
        return answers if self.limits is None else np.clip(answers, *self.limits)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Line:
        """The line that `to_json` wrote, equal in every bit."""
        low_high = stored["limits"]
        limits = None if low_high is None else (float(low_high[0]), float(low_high[1]))
        return cls(_to_array(stored["slopes"]), _to_array(stored["intercepts"]), limits)


@dataclass(frozen=True, eq=False)
class Thresholds(Spelled):
    """One threshold per target and language: a row is positive where its prob >= threshold.

    Attributes:
        rule: the name of the rule that chose them, e.g. "shrunk" or "half".
        global_: the one threshold that all targets share.
        joint: thresholds over all languages `(C,)`, for languages that were not tuned on.
        values: per language `(C,)`; NaN where the language does not have the target.
        joint_positives: positives per target over all languages `(C,)`.
        positives: per language, positives per target `(C,)`.
        settings: what the tuner was told.
        warnings: sentences for a person.
        intensity: the decoding of levels, for intensity tasks only.
        offsets: added to the log-probs of single labels `(C,)` before the highest wins; None: none.
        line: what numbers become; None: they are answers as they are.
    """

    target_names: tuple[str, ...]
    rule: str
    global_: float
    joint: FloatArray
    values: dict[str, FloatArray]
    joint_positives: IntArray
    positives: dict[str, IntArray]
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    intensity: IntensityRule | None = None
    offsets: FloatArray | None = None
    line: Line | None = None

    @classmethod
    def even(cls, target_names: tuple[str, ...], value: float, rule: str) -> Thresholds:
        """The same threshold for every target, in any language, from no rows at all."""
        joint, counts = np.full(len(target_names), value), np.zeros(len(target_names), np.int64)
        return cls(target_names, rule, value, joint, {}, counts, {})

    def rows(self, languages: Sequence[str]) -> FloatArray:
        """Thresholds of every row `(n, C)`; a language never seen gets the joint ones."""
        return _gather(self.values, self.joint, languages)

    def to_json(self) -> dict[str, Any]:
        """As `Spelled` does; without offsets and a line where the rule has none."""
        plain = {name.rstrip("_"): value for name, value in super().to_json().items()}
        return {k: v for k, v in plain.items() if v is not None or k not in ("offsets", "line")}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Thresholds:
        """The thresholds that `to_json` wrote, equal in every bit.

        Raises:
            KitError: a field is missing.
        """
        try:
            intensity = stored["intensity"]
            return cls(
                target_names=tuple(stored["target_names"]),
                rule=stored["rule"],
                global_=float(stored["global"]),
                joint=_to_array(stored["joint"]),
                values={name: _to_array(row) for name, row in stored["values"].items()},
                joint_positives=np.array(stored["joint_positives"], dtype=np.int64),
                positives={
                    name: np.array(row, dtype=np.int64) for name, row in stored["positives"].items()
                },
                settings=dict(stored["settings"]),
                warnings=tuple(stored["warnings"]),
                intensity=IntensityRule.from_json(intensity) if intensity else None,
                offsets=_to_array(stored["offsets"]) if stored.get("offsets") else None,
                line=Line.from_json(stored["line"]) if stored.get("line") else None,
            )
        except KeyError as error:
            raise KitError(
                f"thresholds: field {error} is missing. Tune the thresholds again."
            ) from error


def decode_probs(
    kind: str,
    probs: FloatArray,
    thresholds: Thresholds,
    languages: Sequence[str],
    n_levels: int = 3,
) -> Any:
    """Decide every label of every row.

    Args:
        kind: "multilabel" (prob >= threshold), "singlelabel" (the highest prob among the labels of
            the language, one-hot; offsets first, if the rule has them), "intensity" (the rule
            stored with the thresholds), or "regression" and "distribution" (numbers, which are
            answers as they are unless the rule has a line).
        probs: `(n, C)`.
        thresholds: of the run.
        languages: `(n,)`; a language that was not tuned on gets the joint thresholds.
        n_levels: the highest level, for "intensity".

    Returns:
        Whole numbers `(n, L)`, never negative; 0 for a label that the language does not have. Of
        numbers, the numbers.

    Raises:
        KitError: shapes do not fit, or the kind is unknown.
    """
    n_targets = len(thresholds.target_names)
    if probs.shape != (len(languages), n_targets):
        raise KitError(
            f"decode: probs {probs.shape} should be {(len(languages), n_targets)}. "
            "Predict with the models that the thresholds were tuned for."
        )
    if kind == "singlelabel":
        allowed = ~np.isnan(thresholds.rows(languages))
        if thresholds.offsets is not None:
            probs = np.log(np.maximum(probs, 1e-12)) + thresholds.offsets
        # The first label wins a tie.
        highest = np.where(allowed, probs, -np.inf).argmax(axis=1)
        one_hot: IntArray = np.eye(n_targets, dtype=np.int64)[highest]
        return one_hot
    if kind in NUMERIC:
        return probs if thresholds.line is None else thresholds.line.apply(probs)
    if kind == "multilabel":
        return (probs >= thresholds.rows(languages)).astype(np.int64)
    if kind == "intensity":
        return decode_levels(probs, thresholds, languages, n_levels)
    raise KitError(f"decode: kind '{kind}' is unknown. Correct the task file.")


def decode_levels(
    probs: FloatArray, thresholds: Thresholds, languages: Sequence[str], n_levels: int
) -> IntArray:
    """Levels `(n, L)` of event probs `(n, L * n_levels)` by the rule stored with the thresholds.

    Thresholds without a rule (those of `constant_thresholds`) are decoded by the running AND.
    """
    events = probs.reshape(len(probs), -1, n_levels)
    rule = thresholds.intensity
    if rule is not None and rule.method == "expected_value":
        return apply_cuts(events.sum(axis=2), rule.rows(languages))
    reached = events >= thresholds.rows(languages).reshape(events.shape)
    levels: IntArray = np.logical_and.accumulate(reached, axis=2).sum(axis=2)
    return levels


def apply_cuts(expected: FloatArray, cuts: FloatArray) -> IntArray:
    """How many cut points `(..., M)` each expected level `(...)` reaches; none if they are NaN."""
    result: IntArray = (expected[..., None] >= cuts).sum(axis=-1)
    return result


def join_levels(targets: FloatArray, n_levels: int) -> FloatArray:
    """Gold levels `(n, L)` from event targets `(n, L * n_levels)`; NaN where not annotated."""
    levels: FloatArray = targets.reshape(len(targets), -1, n_levels).sum(axis=2)
    return levels


def _gather(
    values: Mapping[str, FloatArray], joint: FloatArray, languages: Sequence[str]
) -> FloatArray:
    names = sorted(set(languages))
    if not names:
        return np.empty((0, *joint.shape))
    row_of = {name: row for row, name in enumerate(names)}
    table = np.stack([values.get(name, joint) for name in names])
    return table[np.array([row_of[language] for language in languages], dtype=np.int64)]


def _to_array(stored: Any) -> FloatArray:
    # numpy reads None as NaN when the type is given.
    return np.array(stored, dtype=np.float64)
