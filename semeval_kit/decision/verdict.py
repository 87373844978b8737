"""Verdicts: whether a run is above what needs no model, and a trial of a search clearly behind.

A run is held against floors on the same rows by the same metric. All trials share folds and seeds,
so a trial is held against another one cell by cell. A cell is one target of one language in one
fold, and its measure needs no threshold: average precision, or the correlation where answers are
numbers. What needs no tuning cannot be tuned on the rows it judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, OofRows, Spelled, split_languages
from semeval_kit.decision.resampling import Board, find_interval
from semeval_kit.plurals import count_noun
from semeval_kit.task.metric_facts import METRIC_FACTS, NUMERIC

_N_RESAMPLES = 500

# A label that so few rows have may well be called by nobody.
_FEW = 10

# Metrics that count rows as right or wrong: no formula gives their best constant.
_STEPPED = ("within_sd", "accuracy", "exact_match")
_N_STEPS = 80
_MOST_SWEEPS = 3
NO_CORRELATION = "a constant correlates with nothing and counts as 0"
PLAIN_NGRAMS = "not --model tfidf, which reads characters, too"

MARGIN = 0.02
"""A mean gap that is no more than this is never a reason to stop."""
ERRORS = 4.0
"""Standard errors by which the gap must be above zero."""
FEWEST_PEERS = 3
"""Other trials that must have come as far, so that a median means something."""
FEWEST_CELLS = 4
"""Cells that are needed to know how much differences scatter."""


@dataclass(frozen=True)
class Floor:
    """What a run is held against.

    Attributes:
        score: its score on the same rows.
        above: by how much the run scores better (negative: worse).
        low: lower end of the 95% interval of that, paired.
        answer: of a constant, what it answers by label if all rows choose it; else empty.
        note: what its score needs said; empty: nothing.
    """

    name: str
    score: float
    above: float
    low: float
    high: float
    answer: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Verdict(Spelled):
    """Whether there is something to upload.

    Attributes:
        learnt: the model beats every floor and calls every label now and then.
        reasons: sentences that say why not.
        floors: what it was held against.
    """

    learnt: bool
    reasons: tuple[str, ...]
    floors: tuple[Floor, ...]


def judge_run(
    board: Board,
    answers: Any,
    labels: tuple[str, ...],
    kind: str,
    parts: IntArray,
    linear: Any | None = None,
) -> Verdict:
    """Hold cross-fitted answers against answers that need no encoder.

    Args:
        board: gold of the out-of-fold rows, and how they are scored.
        answers: `(n, L)`, cross-fitted.
        labels: the L names.
        kind: of the target.
        parts: `(n,)`, the parts of the cross-fitting: a constant number is chosen on the others.
        linear: `(n, L)`, cross-fitted answers of a linear model on the same folds; None: none.
    """
    reasons = [] if kind in NUMERIC else _find_idle_labels(board, answers, labels)
    floors = [_hold_against_constant(board, answers, labels, kind, parts)]
    if linear is not None:
        regression = "ridge" if kind in NUMERIC else "logistic"
        name = f"word n-grams and {regression} regression"
        floors.append(replace(_hold(board, answers, linear, name), note=PLAIN_NGRAMS))
    score = board.score(answers)
    reasons += [
        f"{floor.name} scores {floor.score:.4f}{floor.note and f' ({floor.note})'}, "
        f"the run {score:.4f}"
        for floor in floors
        if not floor.above > 0
    ]
    return Verdict(not reasons, tuple(reasons), tuple(floors))


def name_constant(kind: str) -> str:
    """The constant floor of a kind, in words."""
    of_kind = {"regression": "number", "distribution": "shares", "intensity": "levels"}
    return f"the same {of_kind.get(kind, 'answer')} for every row"


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


def judge_standing(cells: FloatArray, others: Mapping[int, FloatArray]) -> Standing:
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
        cells: `(k, C)`, the trial's cells of folds 0 to k - 1.
        others: by number, `(K, C)` of the other trials.
    """
    k = len(cells)
    peers = {number: theirs for number, theirs in others.items() if len(theirs) >= k}
    if not peers or not k:
        return Standing(-1, 0.0, 0.0, below_median=False, behind=False)
    leader = max(peers, key=lambda number: (len(peers[number]), mean_cells(peers[number]), -number))
    gaps = (peers[leader][:k] - cells).ravel()
    gaps = gaps[~np.isnan(gaps)]
    gap = float(gaps.mean()) if len(gaps) else 0.0
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    median = np.median([mean_cells(theirs[:k]) for theirs in peers.values()])
    below = bool(mean_cells(cells) < median)
    enough = len(peers) >= FEWEST_PEERS and len(gaps) >= FEWEST_CELLS
    behind = enough and below and gap > max(MARGIN, ERRORS * error)
    return Standing(leader, gap, error, below, bool(behind))


def mean_cells(cells: FloatArray) -> float:
    """The mean over folds and cells that are known; NaN without any."""
    measured = cells[~np.isnan(cells)]
    return float(measured.mean()) if len(measured) else float("nan")


def _hold(board: Board, answers: Any, other: Any, name: str) -> Floor:
    score = board.score(other)
    drawn = board.sign * board.resample([answers, other], _N_RESAMPLES, 0)
    above = board.sign * (board.score(answers) - score)
    return Floor(name, score, above, *find_interval(drawn[:, 0] - drawn[:, 1]))


def _hold_against_constant(
    board: Board, answers: Any, labels: tuple[str, ...], kind: str, parts: IntArray
) -> Floor:
    name = name_constant(kind)
    if METRIC_FACTS[board.metric].lowest < 0:  # a correlation
        drawn = board.resample([answers], _N_RESAMPLES, 0)[:, 0]
        interval = find_interval(drawn)
        return Floor(name, 0.0, board.score(answers), *interval, note=NO_CORRELATION)
    if kind in (*NUMERIC, "intensity"):
        constants, constant = np.zeros(board.gold.shape), _fit_constant(board, kind)
        for part in np.unique(parts):  # each by the best constant of the others
            others = board.take(np.flatnonzero(parts != part))
            constants[parts == part] = _fit_constant(others, kind)
    else:
        constants = _answer_constant(board, kind)
        constant = constants[0]
    floor = _hold(board, answers, constants, name)
    answer = {label: float(value) for label, value in zip(labels, constant, strict=True)}
    return Floor(name, floor.score, floor.above, floor.low, floor.high, answer)


def _fit_constant(board: Board, kind: str) -> FloatArray:
    """The answer `(L,)` that scores best if all rows have it."""
    gold = board.gold
    columns = [column[~np.isnan(column)] for column in gold.T]
    means = np.array([column.mean() if len(column) else 0.0 for column in columns])
    medians = np.array([np.median(column) if len(column) else 0.0 for column in columns])
    if kind == "distribution":
        return np.asarray(means)
    if kind == "intensity":
        means, medians = np.rint(means), np.rint(medians)

    def score(constant: FloatArray) -> float:
        return board.sign * board.score(np.tile(constant, (len(gold), 1)))

    rows, counts = np.unique(np.nan_to_num(gold), axis=0, return_counts=True)
    best: FloatArray = max((means, medians, rows[counts.argmax()]), key=score)
    if board.metric not in _STEPPED:
        return best
    for _ in range(_MOST_SWEEPS):
        before = best.copy()
        for place, column in enumerate(columns):
            if not len(column):
                continue
            low, high = column.min(), column.max()
            steps = np.arange(low, high + 1) if kind == "intensity" else None
            steps = np.linspace(low, high, _N_STEPS + 1) if steps is None else steps
            tried = [np.where(np.arange(len(best)) == place, step, best) for step in steps]
            scores = np.array([score(constant) for constant in tried])
            ties = np.flatnonzero(scores == scores.max())
            best = tried[int(ties[len(ties) // 2])]  # the middle of the plateau
        if (best == before).all():
            break
    return best


def _find_idle_labels(board: Board, answers: Any, labels: tuple[str, ...]) -> list[str]:
    """Labels that are called for no row, or for every row, of all languages that have them."""
    reasons = []
    for column, label in enumerate(labels):
        gold = board.gold[:, column]
        annotated = ~np.isnan(gold)
        called, positives = answers[annotated, column] > 0, int((gold[annotated] > 0).sum())
        if not board.scored[column] or positives < _FEW:
            continue
        if not called.any():
            reasons.append(
                f"label '{label}' is never predicted "
                f"({count_noun(positives, 'row has', 'rows have')} it)"
            )
        elif called.all() and positives < 0.9 * len(called):
            reasons.append(
                f"label '{label}' is always predicted "
                f"({count_noun(positives, 'row has', 'rows have')} it)"
            )
    return reasons


def _answer_constant(board: Board, kind: str) -> FloatArray:
    """The best same answer for all rows: the commonest label, or all of them, or the commonest."""
    gold, shape = np.nan_to_num(board.gold), board.gold.shape
    if kind == "singlelabel":
        answers = np.zeros(shape)
        answers[:, (gold * board.scored).sum(axis=0).argmax()] = 1
        return answers
    rates = gold.mean(axis=0)
    candidates = [np.ones(shape), np.tile(np.rint(rates), (len(gold), 1))]
    return max(candidates, key=board.score)


def _correlate(answers: FloatArray, gold: FloatArray) -> float:
    if len(gold) < 2 or not answers.std() or not gold.std():
        return float("nan")
    return float(np.corrcoef(answers, gold)[0, 1])
