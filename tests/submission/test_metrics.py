"""The official arithmetic, against hand-made numbers and other people's code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from semeval_kit.submission import metrics
from semeval_kit.submission.metrics import Counts


@pytest.fixture(scope="module")
def matrices():
    rng = np.random.default_rng(3)
    gold = (rng.random((200, 5)) < 0.3).astype(int)
    preds = (rng.random((200, 5)) < 0.4).astype(int)
    gold[:, 4] = preds[:, 4] = 0
    return gold, preds


def test_f1_is_zero_where_it_is_undefined():
    assert Counts(0, 0, 0).f1 == 0.0
    assert Counts(0, 3, 0).f1 == 0.0
    assert Counts(0, 0, 3).f1 == 0.0
    assert Counts(2, 1, 1).f1 == pytest.approx(2 / 3)


def test_the_official_form_of_f1_is_kept():
    counts = Counts(1, 2, 4)
    p, r = 1 / 3, 1 / 5
    assert counts.f1 == 2 * p * r / (p + r)


def test_macro_and_micro_agree_with_scikit_learn(matrices):
    gold, preds = matrices
    assert metrics.macro_f1(gold, preds) == pytest.approx(
        sk.f1_score(gold, preds, average="macro", zero_division=0), abs=1e-12
    )
    assert metrics.micro_f1(gold, preds) == pytest.approx(
        sk.f1_score(gold, preds, average="micro", zero_division=0), abs=1e-12
    )


def test_one_label_does_not_average_class_zero_in():
    gold, preds = np.array([[1], [0], [1]]), np.array([[1], [1], [0]])
    assert metrics.macro_f1(gold, preds) == 0.5


def test_cells_that_are_not_annotated_do_not_count():
    gold = np.array([[1, np.nan], [0, np.nan], [1, 1]])
    preds = np.array([[1, 1], [0, 1], [1, 1]])
    assert metrics.count_labels(gold, preds) == [Counts(2, 0, 0), Counts(1, 0, 0)]


def test_weighted_metrics_jaccard_and_accuracy_agree_with_scikit_learn(matrices):
    gold, preds = matrices
    for name, function in (
        ("weighted_precision", sk.precision_score),
        ("weighted_recall", sk.recall_score),
        ("weighted_f1", sk.f1_score),
    ):
        expected = function(gold, preds, average="weighted", zero_division=0)
        assert metrics.METRICS[name](gold, preds) == pytest.approx(expected, abs=1e-12)
    assert metrics.accuracy(gold, preds) == sk.accuracy_score(gold, preds)
    expected = sk.jaccard_score(gold, preds, average="samples", zero_division=1)
    assert metrics.jaccard(gold, preds) == pytest.approx(expected, abs=1e-12)


def test_jaccard_counts_two_empty_rows_as_right():
    assert metrics.jaccard(np.array([[0, 0], [1, 1]]), np.array([[0, 0], [1, 0]])) == 0.75


def test_auc_agrees_with_scikit_learn_and_counts_ties_half():
    rng = np.random.default_rng(1)
    gold = np.eye(3)[rng.integers(0, 3, 60)]
    probs = np.round(rng.random((60, 3)), 1)
    expected = np.mean([sk.roc_auc_score(gold[:, i], probs[:, i]) for i in range(3)])
    assert metrics.macro_auc(gold, probs) == pytest.approx(expected, abs=1e-12)
    assert math.isnan(metrics.macro_auc(np.zeros((4, 2)), np.zeros((4, 2))))


def test_pearson_agrees_with_scipy():
    rng = np.random.default_rng(2)
    gold, preds = rng.integers(0, 4, (100, 4)), rng.integers(0, 4, (100, 4))
    expected = [stats.pearsonr(gold[:, i], preds[:, i])[0] for i in range(4)]
    assert metrics.pearson_by_label(gold, preds) == pytest.approx(expected, abs=1e-12)
    assert metrics.pearson_r(gold, preds) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("gold", "preds", "r"),
    [
        ([1, 1, 1], [0, 1, 2], 0.0),
        ([0, 1, 2], [1, 1, 1], 0.0),
        ([2, 2, 2], [2, 2, 2], 1.0),
        ([1, 1, 1], [2, 2, 2], 0.0),
        ([0, 1, 2], [0, 2, 3], 0.9819805060619659),
        ([], [], 0.0),
    ],
)
def test_pearson_of_constant_columns(gold, preds, r):
    assert metrics.pearson(gold, preds) == pytest.approx(r, abs=1e-15)
