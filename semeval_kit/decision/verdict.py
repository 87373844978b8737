"""The verdict: whether a run is above what needs no model, on the same rows by the same metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray
from semeval_kit.decision.resampling import Board, find_interval
from semeval_kit.task.metric_facts import METRIC_FACTS, NUMERIC

_N_RESAMPLES = 500

# A label that so few rows have may well be called by nobody.
_FEW = 10

# Metrics that count rows as right or wrong: no formula gives their best constant.
_STEPPED = ("within_sd", "accuracy", "exact_match")
_N_STEPS = 80
_MOST_SWEEPS = 3
NO_CORRELATION = "a constant correlates with nothing and counts as 0"


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
class Verdict:
    """Whether there is something to upload.

    Attributes:
        learnt: the model beats every floor and calls every label now and then.
        reasons: sentences that say why not.
        floors: what it was held against.
    """

    learnt: bool
    reasons: tuple[str, ...]
    floors: tuple[Floor, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


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
        floors.append(_hold(board, answers, linear, f"n-grams and {regression} regression"))
    own = board.score(answers)
    reasons += [
        f"{floor.name} scores {floor.score:.4f}{floor.note and f' ({floor.note})'}, "
        f"the run {own:.4f}"
        for floor in floors
        if not floor.above > 0
    ]
    return Verdict(not reasons, tuple(reasons), tuple(floors))


def name_constant(kind: str) -> str:
    """The constant floor of a kind, in words."""
    of_kind = {"regression": "number", "distribution": "shares", "intensity": "levels"}
    return f"the same {of_kind.get(kind, 'answer')} for every row"


def cross_fit_constant(board: Board, kind: str, parts: IntArray) -> tuple[FloatArray, FloatArray]:
    """The best constant of each part by the metric on the other parts, and that of all rows.

    Returns:
        Answers `(n, L)`, and the constant `(L,)`.
    """
    answers = np.zeros(board.gold.shape)
    for part in np.unique(parts):
        others = np.flatnonzero(parts != part)
        answers[parts == part] = _fit_constant(board.take(others), kind)
    return answers, _fit_constant(board, kind)


def _hold(board: Board, answers: Any, other: Any, name: str) -> Floor:
    sign = -1 if METRIC_FACTS[board.metric].low_is_better else 1
    score = board.score(other)
    drawn = sign * board.resample([answers, other], _N_RESAMPLES, 0)
    above = sign * (board.score(answers) - score)
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
        constants, constant = cross_fit_constant(board, kind, parts)
    else:
        constants = _answer_constant(board, kind)
        constant = constants[0]
    floor = _hold(board, answers, constants, name)
    answer = {label: float(value) for label, value in zip(labels, constant, strict=True)}
    return Floor(name, floor.score, floor.above, floor.low, floor.high, answer)


def _fit_constant(board: Board, kind: str) -> FloatArray:
    """The answer `(L,)` that scores best if all rows have it."""
    gold = board.gold
    known = [column[~np.isnan(column)] for column in gold.T]
    means = np.array([column.mean() if len(column) else 0.0 for column in known])
    medians = np.array([np.median(column) if len(column) else 0.0 for column in known])
    if kind == "distribution":
        return np.asarray(means)
    if kind == "intensity":
        means, medians = np.rint(means), np.rint(medians)

    def score(constant: FloatArray) -> float:
        sign = -1 if METRIC_FACTS[board.metric].low_is_better else 1
        return sign * board.score(np.tile(constant, (len(gold), 1)))

    rows, counts = np.unique(np.nan_to_num(gold), axis=0, return_counts=True)
    best: FloatArray = max((means, medians, rows[counts.argmax()]), key=score)
    if board.metric not in _STEPPED:
        return best
    for _ in range(_MOST_SWEEPS):
        before = best.copy()
        for place, column in enumerate(known):
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
            reasons.append(f"label '{label}' is never predicted ({positives} rows have it)")
        elif called.all() and positives < 0.9 * len(called):
            reasons.append(f"label '{label}' is always predicted ({positives} rows have it)")
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
