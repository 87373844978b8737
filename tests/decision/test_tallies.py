""""""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from semeval_kit.decision.oof import index_groups
from semeval_kit.decision.tallies import (
    draw_counts,
    find_metric,
    score_labels,
    score_rows,
    sweep_bags,
    sweep_global,
    sweep_label,
)
from semeval_kit.errors import KitError
from semeval_kit.submission.metrics import NOTHING, Beside

cells = st.lists(st.lists(st.integers(0, 7), min_size=3, max_size=3), min_size=1, max_size=20)
NAMES = ("macro_f1", "micro_f1", "weighted_f1", "weighted_precision", "weighted_recall")
rows = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=25)


def score(name: str, gold: np.ndarray, preds: np.ndarray, scored=None) -> float:
    """The score by sums, after a look that the official arithmetic says the same."""
    metric = find_metric(name)
    mask = np.ones(gold.shape[1], dtype=bool) if scored is None else scored
    gold = gold.astype(float)
    found = float(metric.score(metric.tally(gold, preds, NOTHING).sum(axis=0), mask))
    assert found == pytest.approx(score_rows(name, gold, preds, mask), abs=1e-9)
    return found


@given(cells)
@settings(max_examples=60, deadline=None)
def test_cells_equal_scikit_learn(drawn: list[list[int]]) -> None:
    gold, preds = np.array(drawn) & 1, (np.array(drawn) >> 1) & 1
    for name in NAMES:
        average, measure = name.split("_")
        reference = getattr(metrics, f"{measure}_score")
        expected = reference(gold, preds, average=average, zero_division=0)
        assert score(name, gold, preds) == pytest.approx(expected, abs=1e-12)
    assert score("accuracy", gold, preds) == pytest.approx(metrics.accuracy_score(gold, preds))
    both_empty = ~(gold | preds).any(axis=1)
    rows = [
        1.0 if empty else metrics.jaccard_score(g, p)
        for g, p, empty in zip(gold, preds, both_empty, strict=True)
    ]
    assert score("jaccard", gold, preds) == pytest.approx(np.mean(rows), abs=1e-12)


@pytest.mark.parametrize("name", [*NAMES, "accuracy", "jaccard", "pearson_r"])
def test_sums_agree_with_the_official_arithmetic_where_cells_are_missing(name: str) -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, (40, 4)).astype(float)
    preds = rng.integers(0, 2, (40, 4))
    gold[rng.random(gold.shape) < 0.2] = np.nan
    gold[:2] = np.nan
    score(name, gold, preds, np.array([True, False, True, True]))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=15))
@settings(max_examples=150, deadline=None)
def test_pearson_equals_numpy_and_counts_constants_as_the_scorer_does(
    drawn: list[tuple[int, int]],
) -> None:
    gold, preds = np.array(drawn).T[:, :, None]
    if len(set(gold[:, 0])) > 1 and len(set(preds[:, 0])) > 1:
        expected = float(np.corrcoef(gold[:, 0], preds[:, 0])[0, 1])
    else:
        expected = 1.0 if (gold == preds).all() else 0.0
    assert score("pearson_r", gold, preds) == pytest.approx(expected, abs=1e-9)


def test_not_annotated_cells_count_for_nothing() -> None:
    gold = np.array([[1, np.nan], [0, np.nan], [1, 1.0]])
    preds = np.array([[1, 1], [0, 1], [0, 1]])
    sums = find_metric("macro_f1").tally(gold, preds, NOTHING).sum(axis=0)
    assert sums.tolist() == [[1, 0, 1, 3], [1, 0, 0, 1]]
    assert score_labels("macro_f1", gold, preds) == [pytest.approx(2 / 3), 1.0]


def test_labels_that_do_not_count() -> None:
    """EmoContext: micro-F1 without 'others', whose own errors still show in the other labels."""
    gold = np.eye(3)[[0, 1, 2, 2]]
    preds = np.eye(3, dtype=int)[[0, 2, 2, 1]]
    assert score("micro_f1", gold, preds, np.array([True, True, False])) == 2 * 1 / (2 + 1 + 1)


@pytest.mark.parametrize("name", ["pearson", "spearman", "rmse", "mae", "jensen_shannon"])
def test_sums_of_numbers_agree_with_the_official_arithmetic(name: str) -> None:
    rng = np.random.default_rng(1)
    gold = np.round(rng.dirichlet(np.ones(3), 60), 1)
    preds = np.round(0.5 * gold + 0.5 * rng.dirichlet(np.ones(3), 60), 1)
    gold[5] = np.nan
    score(name, gold, preds)


def test_what_stands_beside_the_rows_is_used() -> None:
    gold, preds = np.array([[1.0], [2.0], [4.0]]), np.array([[1.5], [4.5], [2.0]])
    beside = Beside(spreads=np.array([0.1, 3.0, 1.0]))
    metric = find_metric("within_sd")
    assert metric.tally(gold, preds, beside)[:, 0, 0].tolist() == [1, 1, 0]
    assert score_rows("within_sd", gold, preds, np.ones(1, bool), beside) == 2 / 3


def test_gold_may_be_probabilities() -> None:
    """Expected counts: 100 draws of each row give 100 times as many."""
    shares = np.array([[0.25], [0.5], [1.0]])
    preds = np.array([[1], [0], [1]])
    sums = find_metric("macro_f1").tally(shares, preds, NOTHING).sum(axis=0)
    assert sums.tolist() == [[1.25, 0.75, 0.5, 3]]


def test_unknown_metric() -> None:
    with pytest.raises(KitError, match="metric 'bleu' is unknown here. Choose one of macro_f1"):
        find_metric("bleu")


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
