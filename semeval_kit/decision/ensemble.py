"""Ensembles: the uniform mean of probs, over folds, seeds or encoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semeval_kit.decision.rules import FloatArray
from semeval_kit.errors import KitError


def mean_probs(members: Sequence[FloatArray]) -> FloatArray:
    """The uniform mean of the members' probs `(n, C)`.

    Never of logits: thresholds of single models, applied to a mean of logits, cost up to .007 of
    macro-F1 where a mean of probs costs at most .002. Members are added in the order given, so the
    same members in the same order give the same bytes.

    Raises:
        KitError: there is no member, or shapes differ.
    """
    if not members:
        raise KitError("ensemble: no member given. Train at least one fold.")
    shapes = {np.shape(member) for member in members}
    if len(shapes) > 1:
        raise KitError(
            f"ensemble: members have different shapes {sorted(shapes)}. "
            "Predict the same rows and targets with each."
        )
    total = np.zeros(np.shape(members[0]))
    for member in members:
        total += member
    return total / len(members)
