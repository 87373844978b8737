"""The one tuner that the pipeline calls: each kind of task has its own rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from semeval_kit.decision.intensity import tune_intensity
from semeval_kit.decision.offsets import choose_offsets
from semeval_kit.decision.oof import IntArray, OofRows
from semeval_kit.decision.rule import NUMERIC, Thresholds, decode_probs
from semeval_kit.decision.thresholds import Tuning, constant_thresholds, tune_thresholds
from semeval_kit.errors import KitError


def tune_rule(rows: OofRows, tuning: Tuning) -> Thresholds:
    """Tune what `decode_probs` needs for this kind of task.

    Args:
        rows: out-of-fold.
        tuning: its kind decides: "multilabel" (`tune_thresholds`), "intensity" (`tune_intensity`),
            "singlelabel" (`choose_offsets`), or `untuned_rule` where there is nothing to tune.

    Raises:
        KitError: a prob is not a number in 0..1, or the kind is unknown.
    """
    if tuning.kind == "singlelabel":
        rule, offsets = untuned_rule(rows, tuning.kind), choose_offsets(rows, tuning)
        return rule if offsets is None else replace(rule, rule="offsets", offsets=offsets)
    if tuning.kind in NUMERIC:
        return untuned_rule(rows, tuning.kind)
    if tuning.kind == "intensity":
        return tune_intensity(rows, tuning)
    if tuning.kind == "multilabel":
        return tune_thresholds(rows, tuning)
    raise KitError(f"tune: kind '{tuning.kind}' is unknown. Correct the task file.")


def untuned_rule(rows: OofRows, kind: str) -> Thresholds:
    """The rule without any tuning.

    0.5 for every target; for "singlelabel" argmax (0 for a label that a language has, NaN for one
    that it lacks); numbers are answers as they are.
    """
    if kind in NUMERIC:
        nothing: Any = np.zeros(len(rows.target_names))
        return Thresholds(rows.target_names, "identity", 0.0, nothing, {}, nothing.astype(int), {})
    if kind == "singlelabel":
        return constant_thresholds(rows, 0.0, "argmax")
    return constant_thresholds(rows, 0.5, "half")


def apply_rule(rule: Thresholds, rows: OofRows, tuning: Tuning) -> Any:
    """Answers `(n, L)` of a rule."""
    return decode_probs(tuning.kind, rows.probs, rule, rows.languages, tuning.n_levels)


def cross_fit(rows: OofRows, tuning: Tuning) -> Any:
    """Answers `(n, L)` of each fold by the rule tuned on the other folds."""
    answers: list[tuple[IntArray, Any]] = []
    for fold in np.unique(rows.folds):
        held_out = np.flatnonzero(rows.folds == fold)
        rule = tune_rule(rows.take(np.flatnonzero(rows.folds != fold)), tuning)
        answers.append((held_out, apply_rule(rule, rows.take(held_out), tuning)))
    order = np.argsort(np.concatenate([numbers for numbers, _ in answers]))
    return np.concatenate([preds for _, preds in answers])[order]
