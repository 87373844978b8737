"""The one tuner that the pipeline calls: each kind of task has its own rule."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from semeval_kit.decision.intensity import tune_intensity
from semeval_kit.decision.rules import FloatArray, IntArray, Thresholds
from semeval_kit.decision.thresholds import baseline_thresholds, tune_thresholds
from semeval_kit.errors import KitError


def tune_rule(
    kind: str,
    probs: FloatArray,
    targets: FloatArray,
    languages: Sequence[str],
    target_names: Sequence[str],
    *,
    folds: IntArray | None = None,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    n_levels: int = 3,
    n_bags: int = 100,
    shrinkage: float = 20.0,
    min_positives: int = 5,
) -> Thresholds:
    """Tune what `decode_probs` needs for this kind of task.

    Args:
        kind: "multilabel" (`tune_thresholds`), "intensity" (`tune_intensity`) or "singlelabel"
            (argmax, nothing to tune: 0 for a label that a language has, NaN for one that it lacks).
        probs: `(n, C)`, out-of-fold.
        targets: `(n, C)` of 0, 1 and NaN.
        languages: `(n,)`.
        target_names: the C names.
        folds: `(n,)`, for "intensity" the partition on which its two methods are compared.
        groups: `(n,)`, rows that belong together.
        seed: of every random choice.
        n_levels: the highest level, for "intensity".
        n_bags: see `tune_thresholds`.
        shrinkage: see `tune_thresholds`.
        min_positives: see `tune_thresholds`.

    Raises:
        KitError: shapes do not fit, or the kind is unknown.
    """
    if kind == "singlelabel":
        allowed = baseline_thresholds("all_positive", probs, targets, languages, target_names)
        return replace(allowed, rule="argmax")
    if kind not in ("multilabel", "intensity"):
        raise KitError(f"tune: kind '{kind}' is unknown. Correct the task file.")
    if kind == "intensity":
        return tune_intensity(
            probs,
            targets,
            languages,
            target_names,
            n_levels=n_levels,
            folds=folds,
            groups=groups,
            seed=seed,
            n_bags=n_bags,
            shrinkage=shrinkage,
            min_positives=min_positives,
        )
    return tune_thresholds(
        probs,
        targets,
        languages,
        target_names,
        groups=groups,
        seed=seed,
        n_bags=n_bags,
        shrinkage=shrinkage,
        min_positives=min_positives,
    )


def untuned_rule(
    kind: str,
    probs: FloatArray,
    targets: FloatArray,
    languages: Sequence[str],
    target_names: Sequence[str],
) -> Thresholds:
    """The rule without any tuning: 0.5 for every target, argmax for "singlelabel"."""
    if kind == "singlelabel":
        return tune_rule(kind, probs, targets, languages, target_names)
    names = np.asarray(target_names).tolist()
    return baseline_thresholds("half", probs, targets, languages, names)
