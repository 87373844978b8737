"""Which trial of a search is clearly behind: paired differences of fold and label.

All trials share folds and seeds, so a trial is held against another one cell by cell. A cell is one
target of one language in one fold, and its measure needs no threshold: average precision, or the
correlation where answers are numbers. What needs no tuning cannot be tuned on the rows it judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from semeval_kit.decision.oof import FloatArray, OofRows, split_languages

MARGIN = 0.02
"""A mean gap that is no more than this is never a reason to stop."""
ERRORS = 4.0
"""Standard errors by which the gap must be above zero."""
FEWEST_PEERS = 3
"""Other trials that must have come as far, so that a median means something."""
FEWEST_CELLS = 4
"""Cells that are needed to know how much differences scatter."""


@dataclass(frozen=True)
class Standing:
    """How a trial stands after some folds.

    Attributes:
        leader: number of the trial that it was held against; -1 where there is none.
        gap: mean over cells of the leader minus the trial.
        error: standard error of that mean over cells.
        below_median: whether the trial's mean is below the median of its peers on the same folds.
        behind: whether it is clearly behind, so that another fold is not worth its time.
    """

    leader: int
    gap: float
    error: float
    below_median: bool
    behind: bool


def measure_cells(rows: OofRows, numeric: bool = False) -> FloatArray:
    """A threshold-free measure of each target in each language `(G * C,)`, languages by name.

    Average precision (step-wise, ties as one); with `numeric` Pearson's correlation. NaN where a
    cell has no positive or nothing to correlate.
    """
    cells = []
    for _, numbers in sorted(split_languages(rows.languages).items()):
        for probs, targets in zip(rows.probs[numbers].T, rows.targets[numbers].T, strict=True):
            annotated = ~np.isnan(targets)
            measure = _correlate if numeric else average_precision
            cells.append(measure(probs[annotated], targets[annotated]))
    return np.array(cells, dtype=np.float64)


def average_precision(scores: FloatArray, gold: FloatArray) -> float:
    """The sum over cuts of precision times the gain in recall; NaN without a positive.

    Scores and gold, 0 or 1, are `(n,)`.
    """
    positives = gold.sum()
    if not positives:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(gold[order])[ends]
    return float((np.diff(hits, prepend=0.0) * hits / (ends + 1)).sum() / positives)


def judge_standing(own: FloatArray, others: Mapping[int, FloatArray]) -> Standing:
    """Say whether a trial is clearly behind the others on the folds that it has trained.

    The rule forgives. A trial is behind only if all of this holds:

    - at least FEWEST_PEERS others have trained these folds;
    - its mean is below the median of theirs on these folds;
    - the leader's cells are higher by more than MARGIN in the mean, and by more than ERRORS
      standard errors of that mean over cells.

    The leader is the best of those that have trained the most folds, by all their folds, so that a
    lucky fold makes no leader. Folds are never handed out by rank (successive halving would stop
    half of the trials after one fold, whatever the differences): many trials as good as the leader
    all get all folds.

    Args:
        own: `(k, C)`, the trial's cells of folds 0 to k - 1.
        others: by number, `(K, C)` of the other trials.
    """
    k = len(own)
    peers = {number: cells for number, cells in others.items() if len(cells) >= k}
    if not peers or not k:
        return Standing(-1, 0.0, 0.0, below_median=False, behind=False)
    leader = max(peers, key=lambda number: (len(peers[number]), mean_cells(peers[number]), -number))
    gaps = (peers[leader][:k] - own).ravel()
    gaps = gaps[~np.isnan(gaps)]
    gap = float(gaps.mean()) if len(gaps) else 0.0
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    median = np.median([mean_cells(cells[:k]) for cells in peers.values()])
    below = bool(mean_cells(own) < median)
    enough = len(peers) >= FEWEST_PEERS and len(gaps) >= FEWEST_CELLS
    behind = enough and below and gap > max(MARGIN, ERRORS * error)
    return Standing(leader, gap, error, below, bool(behind))


def mean_cells(cells: FloatArray) -> float:
    """The mean over folds and cells that are known; NaN without any."""
    measured = cells[~np.isnan(cells)]
    return float(measured.mean()) if len(measured) else float("nan")


def _correlate(answers: FloatArray, gold: FloatArray) -> float:
    if len(gold) < 2 or not answers.std() or not gold.std():
        return float("nan")
    return float(np.corrcoef(answers, gold)[0, 1])
