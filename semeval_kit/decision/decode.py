"""From probs to preds: the integers that a submission holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semeval_kit.decision.intensity import decode_levels
from semeval_kit.decision.rules import FloatArray, IntArray, Thresholds
from semeval_kit.errors import KitError


def decode_probs(
    kind: str,
    probs: FloatArray,
    thresholds: Thresholds | None,
    languages: Sequence[str],
    n_levels: int = 3,
) -> IntArray:
    """Decide every label of every row.

    Args:
        kind: "multilabel" (prob >= threshold), "singlelabel" (the highest prob among the labels of
            the language, one-hot) or "intensity" (the rule stored with the thresholds).
        probs: `(n, C)`.
        thresholds: of the run; None only for "singlelabel", which then may choose any label.
        languages: `(n,)`; a language that was not tuned on gets the joint thresholds.
        n_levels: the highest level, for "intensity".

    Returns:
        preds `(n, L)`, never negative; 0 for a label that the language does not have.

    Raises:
        KitError: shapes do not fit, or the kind is unknown.
    """
    if thresholds is None and kind != "singlelabel":
        raise KitError(f"decode: kind '{kind}' needs thresholds. Tune them first.")
    n_targets = probs.shape[1] if thresholds is None else len(thresholds.target_names)
    if probs.shape != (len(languages), n_targets):
        raise KitError(
            f"decode: probs {probs.shape} should be {(len(languages), n_targets)}. "
            "Predict with the models that the thresholds were tuned for."
        )
    if kind == "singlelabel":
        allowed = np.ones(probs.shape, dtype=bool)
        if thresholds is not None:
            allowed = ~np.isnan(thresholds.rows(languages))
        return _choose_highest(probs, allowed)
    assert thresholds is not None
    if kind == "multilabel":
        return (probs >= thresholds.rows(languages)).astype(np.int64)
    if kind == "intensity":
        return decode_levels(probs, thresholds, languages, n_levels)
    raise KitError(f"decode: kind '{kind}' is unknown. Correct the task file.")


def _choose_highest(
    probs: FloatArray, allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> IntArray:
    """One-hot of the highest allowed prob; the first label wins a tie."""
    chosen = np.where(allowed, probs, -np.inf).argmax(axis=1)
    preds = np.zeros(probs.shape, dtype=np.int64)
    preds[np.arange(len(probs)), chosen] = 1
    return preds
