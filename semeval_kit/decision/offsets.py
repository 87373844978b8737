"""Offsets of single-label answers: what is added to each label's log-prob before the highest wins.

A model that is trained briefly leans to common labels. First one number t lifts rare ones, by
-t log(share) (logit adjustment: Menon et al. 2021, arXiv 2007.07314); from there each offset moves
alone, and is shrunk back where its label has few rows. Offsets are used only where they gain when
cross-fitted: after long training they do not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, OofRows
from semeval_kit.decision.resampling import Board, split_groups
from semeval_kit.decision.rule import decode_probs
from semeval_kit.decision.tallies import CELL_METRICS, find_metric
from semeval_kit.decision.thresholds import (
    Tuning,
    constant_thresholds,
    count_positives,
    weigh_positives,
)

_LIFTS = np.linspace(0.0, 1.5, 7)
_STEPS = np.linspace(-1.0, 1.0, 9)
_N_SWEEPS = 2
# More rows than these make offsets no better.
_MAX_ROWS = 10_000
_PARTS = 5


def choose_offsets(rows: OofRows, tuning: Tuning) -> FloatArray | None:
    """The offsets `(L,)`, or None where they gain nothing on rows that did not choose them.

    Args:
        rows: probs that sum to 1; gold one-hot. Their folds are the parts of the cross-fitting.
        tuning: the metric and the labels that count; other metrics than F1, precision, recall and
            accuracy leave argmax.
    """
    metric = tuning.metric or "accuracy"
    if metric not in (*CELL_METRICS, "accuracy", "exact_match"):
        return None
    annotated = np.flatnonzero(~np.isnan(rows.targets).any(axis=1))
    if len(annotated) > _MAX_ROWS:
        rng = np.random.default_rng([tuning.seed, 6])
        annotated = np.sort(rng.choice(annotated, _MAX_ROWS, replace=False))
    rows = rows.take(annotated)
    parts = rows.folds
    if len(np.unique(parts)) < 2:
        rng = np.random.default_rng([tuning.seed, _PARTS])
        parts = split_groups(rows.groups, rows.languages, _PARTS, rng)
    if len(np.unique(parts)) < 2 or not len(rows):
        return None
    board = Board.of(metric, rows.targets, rows.languages, tuning.scored, rows.groups)
    plain = constant_thresholds(rows, 0.0, "argmax")
    before = decode_probs("singlelabel", rows.probs, plain, rows.languages)
    after = before.copy()
    for part in np.unique(parts):
        held_out = np.flatnonzero(parts == part)
        offsets = _tune(rows.take(np.flatnonzero(parts != part)), tuning, metric)
        rule = replace(plain, offsets=offsets)
        languages = [rows.languages[row] for row in held_out]
        after[held_out] = decode_probs("singlelabel", rows.probs[held_out], rule, languages)
    return _tune(rows, tuning, metric) if board.score(after) > board.score(before) else None


def _tune(rows: OofRows, tuning: Tuning, metric: str) -> FloatArray:
    """Offsets `(L,)` with the highest score on the rows, shrunk toward a common lift."""
    log_probs = np.log(np.maximum(rows.probs, 1e-12))
    truth = rows.targets.argmax(axis=1)
    positives = count_positives(rows.targets)
    scored = np.ones(len(positives), bool) if tuning.scored is None else np.array(tuning.scored)

    def score(counts: FloatArray) -> float:
        if metric in ("accuracy", "exact_match"):
            return float(counts[:, 0].sum() / len(truth))
        return float(find_metric(metric).score(counts, scored & (positives > 0)))

    lift = -np.log(np.maximum(positives, 1) / len(truth))
    scores = [
        score(_count(truth, (log_probs + t * lift).argmax(axis=1), positives)) for t in _LIFTS
    ]
    anchor = _LIFTS[int(np.argmax(scores))] * (lift - lift.mean())
    offsets, best = anchor.copy(), max(scores)
    for _ in range(_N_SWEEPS):
        for label in np.flatnonzero(positives):
            others = log_probs + offsets
            others[:, label] = -np.inf
            rival, height = others.argmax(axis=1), others.max(axis=1)
            for step in anchor[label] + _STEPS:
                wins = log_probs[:, label] + step
                # The first label wins a tie, as in `decode_probs`.
                won = (wins > height) | ((wins == height) & (label < rival))
                reached = score(_count(truth, np.where(won, label, rival), positives))
                if reached > best + 1e-12:
                    best, offsets[label] = reached, step
    weights = weigh_positives(positives, tuning)
    result: FloatArray = weights * offsets + (1 - weights) * anchor
    return result


def _count(truth: IntArray, called: IntArray, positives: IntArray) -> FloatArray:
    """True positives, false positives, false negatives, rows: `(L, 4)`."""
    n_labels = len(positives)
    hits = np.bincount(truth[truth == called], minlength=n_labels)
    calls = np.bincount(called, minlength=n_labels)
    n_rows = np.full(n_labels, len(truth))
    return np.stack([hits, calls - hits, positives - hits, n_rows], axis=-1).astype(np.float64)
