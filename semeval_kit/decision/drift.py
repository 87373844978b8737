"""Drift: whether a rule calls as many rows positive on new rows as out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, split_languages

# A drift is pointed out when it is both large and more than chance: five points, or two points
# and a factor of two; three sigmas.
_LARGE = 0.05
_LARGE_IF_DOUBLE = 0.02
_SIGMAS = 3.0


@dataclass(frozen=True)
class Drift:
    """The positive rate of one label in one language.

    Attributes:
        language: of the new rows.
        label: its name.
        oof_rate: share of out-of-fold rows called positive (level >= 1), 0..1.
        test_rate: share of new rows called positive.
        sigmas: the difference of the rates over its standard error under no drift.
        notable: whether it is large (5 points; 2 if it doubles or halves) and unlikely by chance
            (3 sigmas).
    """

    language: str
    label: str
    oof_rate: float
    test_rate: float
    sigmas: float
    notable: bool

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def measure_drift(
    oof_called: FloatArray,
    oof_languages: Sequence[str],
    new_called: FloatArray,
    new_languages: Sequence[str],
    label_names: Sequence[str],
) -> list[Drift]:
    """Compare the share of positive answers per language and label.

    A notable drift has two causes: the new rows differ, or a mean over models spreads less than
    the single models that the thresholds were tuned on. Give the share of models that call a row
    positive to see the first alone.

    Args:
        oof_called: `(n, L)`, 1 where the thresholds call an out-of-fold row positive; NaN where
            gold is not annotated.
        oof_languages: `(n,)`.
        new_called: `(m, L)`, 0..1.
        new_languages: `(m,)`; a language without out-of-fold rows is compared with all of them.
        label_names: the L names.
    """
    rows_of, drifts = split_languages(oof_languages), []
    for language, rows in split_languages(new_languages).items():
        before = oof_called[rows_of.get(language, np.arange(len(oof_called)))]
        for label, name in enumerate(label_names):
            called = before[~np.isnan(before[:, label]), label]
            if len(called):
                drifts.append(_compare_rates(language, name, called, new_called[rows, label]))
    return drifts


def _compare_rates(language: str, label: str, oof: FloatArray, new: FloatArray) -> Drift:
    before, after = float(oof.mean()), float(new.mean())
    pooled = (oof.sum() + new.sum()) / (len(oof) + len(new))
    error = float(np.sqrt(pooled * (1 - pooled) * (1 / len(oof) + 1 / len(new))))
    sigmas = (after - before) / error if error else 0.0
    gap, doubled = abs(after - before), max(before, after) >= 2 * min(before, after)
    large = gap >= _LARGE or (gap >= _LARGE_IF_DOUBLE and doubled)
    return Drift(language, label, before, after, sigmas, bool(large and abs(sigmas) >= _SIGMAS))
