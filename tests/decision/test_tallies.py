from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from semeval_kit.decision.tallies import find_metric, score_labels, score_rows
from semeval_kit.errors import KitError
from semeval_kit.submission.metrics import NOTHING, Beside


def score(name: str, gold: np.ndarray, preds: np.ndarray, scored=None) -> float:
    """The score by sums, after a look that the official arithmetic says the same."""
    metric = find_metric(name)
    mask = np.ones(gold.shape[1], dtype=bool) if scored is None else scored
    gold = gold.astype(float)
    found = float(metric.score(metric.tally(gold, preds, NOTHING).sum(axis=0), mask))
    assert found == pytest.approx(score_rows(name, gold, preds, mask), abs=1e-9)
    return found


cells = st.lists(st.lists(st.integers(0, 7), min_size=3, max_size=3), min_size=1, max_size=20)
NAMES = ("macro_f1", "micro_f1", "weighted_f1", "weighted_precision", "weighted_recall")


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
