"""Tuning the rule of a kind: offsets, a line, levels, or thresholds."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray, OofRows, split_languages
from semeval_kit.decision.resampling import N_PARTS, Board, part_rows
from semeval_kit.decision.rule import (
    IntensityRule,
    Line,
    Thresholds,
    decode_levels,
    decode_probs,
    join_levels,
)
from semeval_kit.decision.tallies import CELL_METRICS, draw_counts, find_metric
from semeval_kit.decision.thresholds import (
    Tuning,
    constant_thresholds,
    count_positives,
    tune_cuts,
    tune_shared_cuts,
    tune_thresholds,
    weigh_positives,
)
from semeval_kit.errors import KitError
from semeval_kit.task.metric_facts import NUMERIC

_LIFTS = np.linspace(0.0, 1.5, 7)
_STEPS = np.linspace(-1.0, 1.0, 9)
_N_SWEEPS = 2

# What a line over numbers can better: those that rank or correlate see none.
_LINED = ("within_sd", "rmse", "mae")
_SLOPES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5])
_N_LEVELS = 101
_SMOOTHED = 3  # levels, so that a peak by chance is not taken

# More rows than these make offsets, or a line, no better.
_MAX_ROWS = 10_000
METHODS = ("running_and", "expected_value")

# The comparison of the methods needs a ranking, not final thresholds.
_COMPARISON_BAGS = 10


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
    tuning = replace(tuning, metric=metric)
    return _keep_if_better(rows, tuning, lambda some: _tune_offsets(some, tuning)).offsets


def choose_line(rows: OofRows, tuning: Tuning) -> Line | None:
    """A line over numbers, or None where it gains nothing on rows that did not choose it.

    A model that knows little had better answer nearer to where most ratings are, which changes no
    rank. Slopes are above 0 and chosen from a few, column by column.

    Args:
        rows: numbers and gold in the task's unit. Their folds are the parts of the cross-fitting.
        tuning: the metric, and the limits of answers; metrics of ranks and correlations leave the
            numbers as they are.
    """
    if tuning.metric not in _LINED:
        return None
    return _keep_if_better(rows, tuning, lambda some: _tune_line(some, tuning)).line


def tune_intensity(rows: OofRows, tuning: Tuning) -> Thresholds:
    """Tune both methods on the rows given and keep the one with the better cross-fitted r.

    Args:
        rows: probs `(n, L * n_levels)`, label-major: P(y >= 1), P(y >= 2), ... of the first label
            first. Their folds are the partition on which the methods are compared; with one fold
            only, random parts are.
        tuning: cut points are bagged and shrunk as thresholds are.

    Returns:
        Thresholds of the events, with an `IntensityRule` that holds the cut points and, as
        comparison, the r of each method and the margin.

    Raises:
        KitError: targets do not fit the levels, or a prob is not a number in 0..1.
    """
    names, n_levels = rows.target_names, tuning.n_levels
    if not names or len(names) % n_levels:
        raise KitError(
            f"intensity: {len(names)} targets are no multiple of {n_levels} levels. "
            "Check max_intensity in the task file."
        )
    rows = replace(rows, folds=part_rows(rows, [tuning.seed, N_PARTS]))
    thresholds = _tune_methods(rows, tuning)
    comparison = _compare_methods(rows, tuning)
    return _set_method(thresholds, comparison["kept"], comparison)


def tune_rule(rows: OofRows, tuning: Tuning) -> Thresholds:
    """Tune what `decode_probs` needs for this kind of task.

    Args:
        rows: out-of-fold.
        tuning: its kind decides: "multilabel" (`tune_thresholds`), "intensity" (`tune_intensity`),
            "singlelabel" (`choose_offsets`), "regression" (`choose_line`), or `untuned_rule` where
            there is nothing to tune.

    Raises:
        KitError: a prob is not a number in 0..1, or the kind is unknown.
    """
    if tuning.kind == "singlelabel":
        rule, offsets = untuned_rule(rows, tuning.kind), choose_offsets(rows, tuning)
        return rule if offsets is None else replace(rule, rule="offsets", offsets=offsets)
    if tuning.kind == "regression":
        rule, line = untuned_rule(rows, tuning.kind), choose_line(rows, tuning)
        return rule if line is None else replace(rule, rule="line", line=line)
    if tuning.is_numeric:
        return untuned_rule(rows, tuning.kind)
    if tuning.kind == "intensity":
        return tune_intensity(rows, tuning)
    if tuning.kind == "multilabel":
        return tune_thresholds(rows, tuning)
    raise KitError(f"tune: kind '{tuning.kind}' is unknown. Correct the task file.")


def untuned_rule(rows: OofRows, kind: str) -> Thresholds:
    """The rule without any tuning.

    0.5 for every target; for "singlelabel" argmax (0 for a label that a language has, NaN for one
    that it lacks); numbers are answers as they are.
    """
    if kind in NUMERIC:
        return Thresholds.even(rows.target_names, 0.0, "identity")
    if kind == "singlelabel":
        return constant_thresholds(rows, 0.0, "argmax")
    return constant_thresholds(rows, 0.5, "half")


def apply_rule(rule: Thresholds, rows: OofRows, tuning: Tuning) -> Any:
    """Answers `(n, L)` of a rule."""
    return decode_probs(tuning.kind, rows.probs, rule, rows.languages, tuning.n_levels)


def cross_fit(rows: OofRows, tuning: Tuning) -> Any:
    """Answers `(n, L)` of each fold by the rule tuned on the other folds."""
    answers: list[tuple[IntArray, Any]] = []
    for fold in np.unique(rows.folds):
        held_out = np.flatnonzero(rows.folds == fold)
        rule = tune_rule(rows.take(np.flatnonzero(rows.folds != fold)), tuning)
        answers.append((held_out, apply_rule(rule, rows.take(held_out), tuning)))
    order = np.argsort(np.concatenate([numbers for numbers, _ in answers]))
    return np.concatenate([preds for _, preds in answers])[order]


def _keep_if_better(
    rows: OofRows, tuning: Tuning, tune: Callable[[OofRows], Thresholds]
) -> Thresholds:
    """What `tune` makes of the rows, or the untuned rule where cross-fitted nothing is gained."""
    annotated = np.flatnonzero(~np.isnan(rows.targets).any(axis=1))
    if len(annotated) > _MAX_ROWS:
        rng = np.random.default_rng([tuning.seed, 6])
        annotated = np.sort(rng.choice(annotated, _MAX_ROWS, replace=False))
    rows = rows.take(annotated)
    plain, parts = untuned_rule(rows, tuning.kind), part_rows(rows, [tuning.seed, N_PARTS])
    if len(np.unique(parts)) < 2 or not len(rows):
        return plain
    before = apply_rule(plain, rows, tuning)
    after = before.copy()
    for part in np.unique(parts):
        held_out = np.flatnonzero(parts == part)
        rule = tune(rows.take(np.flatnonzero(parts != part)))
        after[held_out] = apply_rule(rule, rows.take(held_out), tuning)
    board = _make_board(rows, tuning)
    is_better = board.sign * board.score(after) > board.sign * board.score(before)
    return tune(rows) if is_better else plain


def _make_board(rows: OofRows, tuning: Tuning) -> Board:
    scored, groups = tuning.scored, rows.groups
    return Board.of(tuning.metric, rows.targets, rows.languages, scored, groups, rows.beside)


def _tune_line(rows: OofRows, tuning: Tuning) -> Thresholds:
    """The slopes with the best score on the rows, each with the mean answer that suits it."""
    board, plain = _make_board(rows, tuning), untuned_rule(rows, tuning.kind)
    means = rows.probs.mean(axis=0)
    slopes, intercepts = np.ones(len(means)), np.zeros(len(means))
    for column, gold in enumerate(rows.targets.T):
        centred, tried = rows.probs[:, column] - means[column], []
        # The same for all parts, so that answers of several parts can be ranked together.
        levels = np.linspace(gold.min(), gold.max(), _N_LEVELS)
        for slope in _SLOPES:
            numbers = gold - slope * centred
            level = _find_level(tuning.metric, numbers, levels, rows.beside.spreads)
            slopes[column], intercepts[column] = slope, level - slope * means[column]
            answers = Line(slopes, intercepts, tuning.limits).apply(rows.probs)
            tried.append((board.sign * board.score(answers), slope, intercepts[column]))
        _, slopes[column], intercepts[column] = max(tried)
    return replace(plain, line=Line(slopes, intercepts, tuning.limits))


def _find_level(
    metric: str, numbers: FloatArray, levels: FloatArray, spreads: FloatArray | None
) -> float:
    """The number that all of `numbers` `(n,)` are best answered by; of `within_sd` a level."""
    if metric == "rmse":
        return float(numbers.mean())
    if metric == "mae":
        return float(np.median(numbers))
    # What SemEval-2026 Task 5 takes for right: how many numbers each level is near enough to.
    reach = np.fmax(1.0 if spreads is None else spreads, 1.0)
    begun = np.searchsorted(np.sort(numbers - reach), levels, "left")
    n_right = begun - np.searchsorted(np.sort(numbers + reach), levels, "right")
    smoothed = np.convolve(n_right, np.ones(_SMOOTHED), "same")
    return float(levels[smoothed.argmax()])


def _tune_offsets(rows: OofRows, tuning: Tuning) -> Thresholds:
    """The offsets with the highest score on the rows, shrunk toward a common lift."""
    log_probs = np.log(np.maximum(rows.probs, 1e-12))
    truth = rows.targets.argmax(axis=1)
    positives = count_positives(rows.targets)
    scored = np.ones(len(positives), bool) if tuning.scored is None else np.array(tuning.scored)

    def score(counts: FloatArray) -> float:
        if tuning.metric in ("accuracy", "exact_match"):
            return float(counts[:, 0].sum() / len(truth))
        return float(find_metric(tuning.metric).score(counts, scored & (positives > 0)))

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
    rule = untuned_rule(rows, tuning.kind)
    return replace(rule, offsets=weights * offsets + (1 - weights) * anchor)


def _count(truth: IntArray, called: IntArray, positives: IntArray) -> FloatArray:
    """True positives, false positives, false negatives, rows: `(L, 4)`."""
    n_labels = len(positives)
    hits = np.bincount(truth[truth == called], minlength=n_labels)
    calls = np.bincount(called, minlength=n_labels)
    n_rows = np.full(n_labels, len(truth))
    return np.stack([hits, calls - hits, positives - hits, n_rows], axis=-1).astype(np.float64)


def _tune_methods(rows: OofRows, tuning: Tuning) -> Thresholds:
    """Event thresholds and cut points, the method still open.

    Cut points are tuned over all languages, and those of each language shrunk toward them.
    """
    expected = rows.probs.reshape(len(rows), -1, tuning.n_levels).sum(axis=2)
    levels = join_levels(rows.targets, tuning.n_levels)
    shared = tune_shared_cuts(expected, levels, tuning.n_levels)
    joint = _tune_pool(rows, tuning, np.tile(shared, (levels.shape[1], 1)), "")
    rows_of = split_languages(rows.languages)
    cuts = {
        language: joint
        if len(rows_of) == 1
        else _tune_pool(rows.take(numbers), tuning, joint, language)
        for language, numbers in rows_of.items()
    }
    labels = tuning.labels_of(rows.target_names)
    rule = IntensityRule(METHODS[1], labels, tuning.n_levels, joint, cuts)
    return replace(tune_thresholds(rows, tuning), intensity=rule)


def _tune_pool(pool: OofRows, tuning: Tuning, anchor: FloatArray, key: str) -> FloatArray:
    """Median cut points over bootstraps `(L, M)`, shrunk toward the anchor."""
    expected = pool.probs.reshape(len(pool), -1, tuning.n_levels).sum(axis=2)
    levels = join_levels(pool.targets, tuning.n_levels)
    rng = np.random.default_rng([tuning.seed, zlib.crc32(key.encode())])
    drawn = draw_counts(tuning.n_bags, np.unique(pool.groups, return_inverse=True)[1], rng)
    if not tuning.n_bags:
        drawn = np.ones((1, len(expected)), dtype=np.int32)
    optima = np.full(anchor.shape, np.nan)
    for label in range(len(optima)):
        annotated = ~np.isnan(levels[:, label])
        if not annotated.any():
            continue
        gold = levels[annotated, label]
        bags = tune_cuts(expected[annotated, label], gold, drawn[:, annotated], tuning.n_levels)
        bags = bags[~np.isnan(bags).any(axis=1)]
        optima[label] = np.median(bags, axis=0) if len(bags) else anchor[label]
    positives = count_positives(pool.targets).reshape(anchor.shape)
    weights = weigh_positives(positives, tuning)
    mixed = weights * optima + (1 - weights) * anchor
    # A rare level leans on the anchor more than a common one, which could cross the two.
    result: FloatArray = np.maximum.accumulate(mixed, axis=1)
    return result


def _compare_methods(rows: OofRows, tuning: Tuning) -> dict[str, Any]:
    """Mean r over languages of each method, tuned without the fold that it is applied to."""
    quick = replace(tuning, n_bags=min(tuning.n_bags, _COMPARISON_BAGS))
    gold = join_levels(rows.targets, tuning.n_levels)
    preds = {method: np.zeros(gold.shape, dtype=np.int64) for method in METHODS}
    for fold in np.unique(rows.folds):
        held_out = np.flatnonzero(rows.folds == fold)
        tuned = _tune_methods(rows.take(np.flatnonzero(rows.folds != fold)), quick)
        pool = rows.take(held_out)
        for method in METHODS:
            rule = _set_method(tuned, method, {})
            levels = decode_levels(pool.probs, rule, pool.languages, tuning.n_levels)
            preds[method][held_out] = levels
    board = Board.of("pearson_r", gold, rows.languages, groups=rows.groups)
    scores = {method: board.score(preds[method]) for method in METHODS}
    kept = max(METHODS, key=lambda method: scores[method])
    other = METHODS[1 - METHODS.index(kept)]
    return {**scores, "kept": kept, "margin": scores[kept] - scores[other]}


def _set_method(thresholds: Thresholds, method: str, comparison: dict[str, Any]) -> Thresholds:
    assert thresholds.intensity is not None
    rule = replace(thresholds.intensity, method=method, comparison=comparison)
    return replace(thresholds, intensity=rule)
