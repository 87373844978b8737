"""Whether a model has learnt: a figure is worth an upload only above what needs no encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.decision.resampling import Board, find_interval
from semeval_kit.decision.rule import NUMERIC
from semeval_kit.task.metric_facts import METRIC_FACTS

_N_RESAMPLES = 500
# A label that so few rows have may well be called by nobody.
_FEW = 10


@dataclass(frozen=True)
class Floor:
    """What a run is held against.

    Attributes:
        name: what it is, in words.
        score: its score on the same rows.
        above: by how much the run scores better (negative: worse).
        low: lower end of the 95% interval of that, paired.
        high: upper end.
    """

    name: str
    score: float
    above: float
    low: float
    high: float


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
    linear: Any | None = None,
) -> Verdict:
    """Hold cross-fitted answers against answers that need no encoder.

    Args:
        board: gold of the out-of-fold rows, and how they are scored.
        answers: `(n, L)`, cross-fitted.
        labels: the L names.
        kind: of the target.
        linear: `(n, L)`, cross-fitted answers of a linear model on the same folds; None: none.
    """
    reasons = [] if kind in NUMERIC else _find_idle_labels(board, answers, labels)
    systems = {}
    if kind not in NUMERIC:
        systems["the same answer for every row"] = _answer_constant(board, kind)
    if linear is not None:
        systems["n-grams and logistic regression"] = linear
    floors = []
    sign = -1 if METRIC_FACTS[board.metric].low_is_better else 1
    for name, other in systems.items():
        score = board.score(other)
        above = sign * (board.score(answers) - score)
        drawn = sign * board.resample([answers, other], _N_RESAMPLES, 0)
        floors.append(Floor(name, score, above, *find_interval(drawn[:, 0] - drawn[:, 1])))
        if not above > 0:
            reasons.append(f"{name} scores {score:.4f}, the run {board.score(answers):.4f}")
    return Verdict(not reasons, tuple(reasons), tuple(floors))


def _find_idle_labels(board: Board, answers: Any, labels: tuple[str, ...]) -> list[str]:
    """Labels that are called for no row, or for every row, of all languages that have them."""
    reasons = []
    for column, label in enumerate(labels):
        gold = board.gold[:, column]
        known = ~np.isnan(gold)
        called, positives = answers[known, column] > 0, int((gold[known] > 0).sum())
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
