"""Cells of fold and label, and the rule that stops a trial only where it is clearly behind."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.verdict import (
    average_precision,
    judge_standing,
    mean_cells,
    measure_cells,
)


def test_average_precision_is_that_of_sklearn_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 6, 30) / 5
        gold = (rng.random(30) < 0.3).astype(float)
        if gold.any():
            expected = average_precision_score(gold, scores)
            assert average_precision(scores, gold) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(average_precision(scores, np.zeros(30)))


def test_cells_are_of_each_language_and_target() -> None:
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.5], [0.4, 0.3]])
    targets = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, np.nan], [1.0, np.nan]])
    rows = OofRows.of(probs, targets, ["eng", "eng", "deu", "deu"], ["a", "b"])
    np.testing.assert_array_equal(measure_cells(rows), [0.5, np.nan, 1.0, np.nan])
    numbers = OofRows.of(probs, np.array(probs) * 2 + 1, ["eng"] * 4, ["a", "b"])
    np.testing.assert_allclose(measure_cells(numbers, numeric=True), [1.0, 1.0])


def peers(*means: float, folds: int = 5) -> dict[int, np.ndarray]:
    """Trials whose cells scatter around a mean, all of them with the same labels."""
    labels = np.array([-0.1, -0.05, 0.0, 0.05, 0.1])
    return {n: np.tile(mean + labels, (folds, 1)) for n, mean in enumerate(means)}


def test_a_trial_far_behind_is_stopped_after_one_fold() -> None:
    others = peers(0.6, 0.62, 0.61)
    own = others[1][:1] - np.array([0.08, 0.1, 0.12, 0.09, 0.11])
    standing = judge_standing(own, others)
    assert standing.behind
    assert (standing.leader, standing.below_median) == (1, True)
    assert standing.gap == pytest.approx(0.1)
    assert standing.error == pytest.approx(np.sqrt(0.00025) / np.sqrt(5))


def test_the_rule_forgives() -> None:
    others = peers(0.6, 0.62, 0.61)
    far = others[1][:1] - 0.1 * np.array([0.8, 1.0, 1.2, 0.9, 1.1])
    # Fewer than three others: nobody is stopped.
    assert not judge_standing(far, {n: others[n] for n in (0, 1)}).behind
    # A gap below the margin, however sure.
    assert not judge_standing(others[1][:1] - 0.019, others).behind
    # A large gap that labels disagree about.
    unsure = others[1][:1] - np.array([0.5, -0.2, 0.3, -0.2, 0.1])
    assert judge_standing(unsure, others).gap == pytest.approx(0.1)
    assert not judge_standing(unsure, others).behind
    # Behind the leader, but above the median of the others.
    strong = peers(0.5, 0.7, 0.5, 0.5)
    middle = strong[1][:1] - np.array([0.1, 0.11, 0.1, 0.09, 0.1])
    assert not judge_standing(middle, strong).behind
    # Others count only where they have the same folds.
    short = {n: cells[:1] for n, cells in others.items()}
    assert not judge_standing(np.vstack([far, far]), short).behind
    # Cells of one label in one fold say nothing of their scatter.
    assert not judge_standing(far[:, :1], {n: c[:, :1] for n, c in others.items()}).behind


def test_the_leader_is_chosen_by_all_its_folds() -> None:
    others = peers(0.6, 0.6, 0.6)
    others[0][0] += 0.2  # a lucky first fold
    others[0][1:] -= 0.1
    assert judge_standing(others[1][:1] - 0.001, others).leader == 1


def test_unknown_cells_are_left_out() -> None:
    others = peers(0.6, 0.62, 0.61)
    own = others[1][:2] - np.array([0.08, 0.1, 0.12, 0.09, 0.11])
    own[0, 0] = np.nan
    standing = judge_standing(own, others)
    assert standing.gap == pytest.approx((0.42 + 0.5) / 9)
    assert standing.behind
    assert mean_cells(own) == pytest.approx(np.nanmean(own))


def test_equal_trials_are_hardly_ever_stopped_and_bad_ones_nearly_always() -> None:
    rng = np.random.default_rng(1)
    rounds, wrong, caught = 400, 0, 0
    for _ in range(rounds):
        labels = rng.normal(0.6, 0.1, 5)

        def trial(gap: float, folds: int, labels: np.ndarray = labels) -> np.ndarray:
            noise = rng.normal(0, 0.015, (folds, 5)) + rng.normal(0, 0.005, (folds, 1))
            return labels - gap + noise

        others = {n: trial(0.0, 5) for n in range(6)}
        equal, bad = trial(0.0, 5), trial(0.06, 5)
        wrong += any(judge_standing(equal[:k], others).behind for k in range(1, 5))
        caught += any(judge_standing(bad[:k], others).behind for k in range(1, 5))
    assert wrong / rounds < 0.05
    assert caught / rounds > 0.99
