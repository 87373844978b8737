"""Drift: whether the thresholds call as many rows positive on the test rows as out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, split_languages

# A drift is pointed out when it is both large and more than chance: five points, three sigmas.
_LARGE = 0.05
_SIGMAS = 3.0


@dataclass(frozen=True)
class Drift:
    """The positive rate of one label in one language.

    Attributes:
        language: of the test rows.
        label: its name.
        oof_rate: share of out-of-fold rows called positive (level >= 1), 0..1.
        test_rate: share of test rows called positive.
        gold_rate: share of training rows that are positive, NaN-free.
        sigmas: the difference of the rates over its standard error under no drift.
        notable: whether it is large (5 points) and unlikely by chance (3 sigmas).
    """

    language: str
    label: str
    oof_rate: float
    test_rate: float
    gold_rate: float
    sigmas: float
    notable: bool

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def measure_drift(
    gold: FloatArray,
    oof_preds: IntArray,
    oof_languages: Sequence[str],
    test_preds: IntArray,
    test_languages: Sequence[str],
    label_names: Sequence[str],
) -> list[Drift]:
    """Compare the share of positive preds per language and label.

    A notable drift has two causes: the test rows differ, or a mean over models spreads less than
    the single models that the thresholds were tuned on.

    Args:
        gold: `(n, L)` of the training rows, NaN for not annotated.
        oof_preds: `(n, L)`, the thresholds applied to out-of-fold probs.
        oof_languages: `(n,)`.
        test_preds: `(m, L)`.
        test_languages: `(m,)`; a language without training rows is compared with all of them.
        label_names: the L names.
    """
    trained, found = split_languages(oof_languages), []
    for language, rows in split_languages(test_languages).items():
        own = trained.get(language, np.arange(len(gold)))
        for label, name in enumerate(label_names):
            known = own[~np.isnan(gold[own, label])]
            if len(known):
                called = (oof_preds[known, label] > 0, test_preds[rows, label] > 0)
                gold_rate = float((gold[known, label] > 0).mean())
                found.append(_compare_rates(language, name, *called, gold_rate))
    return found


def _compare_rates(
    language: str,
    label: str,
    oof: np.ndarray[Any, np.dtype[np.bool_]],
    test: np.ndarray[Any, np.dtype[np.bool_]],
    gold_rate: float,
) -> Drift:
    before, after = float(oof.mean()), float(test.mean())
    pooled = (oof.sum() + test.sum()) / (len(oof) + len(test))
    error = float(np.sqrt(pooled * (1 - pooled) * (1 / len(oof) + 1 / len(test))))
    sigmas = (after - before) / error if error else 0.0
    notable = bool(abs(after - before) >= _LARGE and abs(sigmas) >= _SIGMAS)
    return Drift(language, label, before, after, gold_rate, sigmas, notable)
