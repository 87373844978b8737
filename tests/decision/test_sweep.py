from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semeval_kit.decision.oof import index_groups
from semeval_kit.decision.tallies import (
    draw_counts,
    sweep_bags,
    sweep_global,
    sweep_label,
)


def f1(gold: np.ndarray, preds: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The textbook definition, row by row."""
    weights = np.ones(len(gold)) if weights is None else weights
    hits = sum(w for w, g, p in zip(weights, gold, preds, strict=True) if g and p)
    total = sum(w for w, g in zip(weights, gold, strict=True) if g)
    total += sum(w for w, p in zip(weights, preds, strict=True) if p)
    return 2 * hits / total if total else 0.0


def every_threshold(scores: np.ndarray) -> list[float]:
    """A threshold for every distinct set of positives."""
    return [*np.unique(scores), np.inf]


rows = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=25)


@given(rows)
@settings(max_examples=150, deadline=None)
def test_sweep_equals_every_cut_with_ties(drawn: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in drawn]) / 6
    gold = np.array([float(hit) for _, hit in drawn])
    best = max(f1(gold, scores >= t) for t in every_threshold(scores))
    assert f1(gold, scores >= sweep_label(scores, gold)) == best


@pytest.mark.parametrize("seed", range(5))
def test_bags_equal_every_cut_of_each_bootstrap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 15, 40) / 15
    gold = (rng.random(40) < 0.3).astype(float)
    counts = draw_counts(20, np.arange(40), rng)
    found = sweep_bags(scores, gold, counts)
    for threshold, count in zip(found, counts, strict=True):
        best = max(f1(gold, scores >= t, count) for t in every_threshold(scores))
        assert f1(gold, scores >= threshold, count) == best


def test_bags_agree_with_the_sweep_of_repeated_rows() -> None:
    rng = np.random.default_rng(3)
    scores, gold = rng.random(50), (rng.random(50) < 0.4).astype(float)
    counts = draw_counts(10, np.arange(50), rng)
    found = sweep_bags(scores, gold, counts)
    repeated = [sweep_label(np.repeat(scores, c), np.repeat(gold, c)) for c in counts]
    np.testing.assert_array_equal(found, repeated)


def test_batches_of_bootstraps_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    scores, gold = rng.random(60), (rng.random(60) < 0.4).astype(float)
    counts = draw_counts(11, np.arange(60), rng)
    whole = sweep_bags(scores, gold, counts)
    monkeypatch.setattr("semeval_kit.decision.tallies._BATCH_CELLS", 150)
    np.testing.assert_array_equal(sweep_bags(scores, gold, counts), whole)


def test_middle_of_the_plateau() -> None:
    # Cuts 0.6 and 0.2 enclose the best set {0.8, 0.6}.
    assert sweep_label(np.array([0.8, 0.6, 0.2, 0.1]), np.array([1.0, 1, 0, 0])) == 0.4


def test_middle_of_a_plateau_of_several_cuts() -> None:
    # Top 1 of P = 2: 2/3. Top 4 with both: 4/6. Top 2, 3 are lower: the first plateau counts.
    threshold = sweep_label(np.array([0.9, 0.7, 0.5, 0.3, 0.1]), np.array([1.0, 0, 0, 1, 0]))
    assert threshold == pytest.approx(0.8)


def test_neighbouring_floats_are_cut_between() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    threshold = sweep_label(np.array([high, low]), np.array([1.0, 0.0]))
    assert (np.array([high, low]) >= threshold).tolist() == [True, False]


def test_optimum_at_the_lower_end_is_just_below_the_lowest_score() -> None:
    scores = np.array([0.9, 0.5, 0.25])
    assert sweep_label(scores, np.array([0.0, 0, 1])) == np.nextafter(0.25, -np.inf)
    assert sweep_label(np.zeros(3), np.array([1.0, 1, 0])) < 0


def test_optimum_at_the_upper_end_is_just_above_the_highest_score() -> None:
    assert sweep_label(np.array([0.9, 0.5]), np.zeros(2)) == np.nextafter(0.9, np.inf)


def test_all_scores_equal() -> None:
    threshold = sweep_label(np.full(4, 0.7), np.array([1.0, 0, 0, 0]))
    assert threshold == np.nextafter(0.7, -np.inf)


def test_no_rows_have_no_threshold() -> None:
    assert np.isnan(sweep_label(np.empty(0), np.empty(0)))


def test_a_bootstrap_without_positives_has_no_threshold() -> None:
    counts = np.array([[0, 2, 1], [1, 1, 1]], dtype=np.int32)
    found = sweep_bags(np.array([0.9, 0.4, 0.2]), np.array([1.0, 0, 0]), counts)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.65)


@pytest.mark.parametrize("seed", range(8))
def test_global_sweep_equals_every_cut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, (30, 4)) / 12
    gold = (rng.random((30, 4)) < [0.5, 0.3, 0.1, 0.4]).astype(float)
    gold[rng.random((30, 4)) < 0.2] = np.nan

    def macro(threshold: float) -> float:
        values = []
        for label in range(4):
            known = ~np.isnan(gold[:, label])
            if gold[known, label].any():
                values.append(f1(gold[known, label], scores[known, label] >= threshold))
        return float(np.mean(values))

    best = max(macro(t) for t in every_threshold(scores.ravel()))
    assert macro(sweep_global(scores, gold)) == pytest.approx(best, abs=1e-12)


def test_global_sweep_of_one_label_is_its_own_sweep() -> None:
    rng = np.random.default_rng(0)
    scores, gold = rng.random(80), (rng.random(80) < 0.3).astype(float)
    assert sweep_global(scores[:, None], gold[:, None]) == sweep_label(scores, gold)


def test_bootstraps_draw_groups_whole() -> None:
    units = index_groups(6, ["a", "b", "a", "c", "b", "a"])
    assert units.tolist() == [0, 1, 0, 2, 1, 0]
    counts = draw_counts(50, units, np.random.default_rng(0))
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 0] == counts[:, 5]).all()
    assert (counts[:, 1] == counts[:, 4]).all()
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()
