"""The official arithmetic, against hand-made numbers and other people's code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from semeval_kit.errors import KitError
from semeval_kit.submission import metrics
from semeval_kit.submission.metrics import Beside, Counts, count_labels, find
from semeval_kit.task.metric_facts import METRIC_FACTS, list_metrics


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
    assert find("macro_f1")(gold, preds) == pytest.approx(
        sk.f1_score(gold, preds, average="macro", zero_division=0), abs=1e-12
    )
    assert find("micro_f1")(gold, preds) == pytest.approx(
        sk.f1_score(gold, preds, average="micro", zero_division=0), abs=1e-12
    )


def test_one_label_does_not_average_class_zero_in():
    gold, preds = np.array([[1], [0], [1]]), np.array([[1], [1], [0]])
    assert find("macro_f1")(gold, preds) == 0.5


def test_cells_that_are_not_annotated_do_not_count():
    gold = np.array([[1, np.nan], [0, np.nan], [1, 1]])
    preds = np.array([[1, 1], [0, 1], [1, 1]])
    assert count_labels(gold, preds) == [Counts(2, 0, 0), Counts(1, 0, 0)]


def test_weighted_metrics_jaccard_and_accuracy_agree_with_scikit_learn(matrices):
    gold, preds = matrices
    for name, function in (
        ("weighted_precision", sk.precision_score),
        ("weighted_recall", sk.recall_score),
        ("weighted_f1", sk.f1_score),
    ):
        expected = function(gold, preds, average="weighted", zero_division=0)
        assert metrics.METRICS[name](gold, preds) == pytest.approx(expected, abs=1e-12)
    assert find("accuracy")(gold, preds) == sk.accuracy_score(gold, preds)
    expected = sk.jaccard_score(gold, preds, average="samples", zero_division=1)
    assert find("jaccard")(gold, preds) == pytest.approx(expected, abs=1e-12)


def test_jaccard_counts_two_empty_rows_as_right():
    assert find("jaccard")(np.array([[0, 0], [1, 1]]), np.array([[0, 0], [1, 0]])) == 0.75


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
    by_label = [metrics.pearson(gold[:, i].tolist(), preds[:, i].tolist()) for i in range(4)]
    assert by_label == pytest.approx(expected, abs=1e-12)
    assert find("pearson_r")(gold, preds) == pytest.approx(np.mean(expected), abs=1e-12)


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


@pytest.fixture
def ratings():
    """Numbers with ties in both columns."""
    rng = np.random.default_rng(4)
    gold = np.round(rng.random((300, 2)) * 5) / 5
    answers = np.round(gold + rng.normal(0, 0.3, gold.shape), 1)
    return gold, answers


def test_spearman_and_pearson_agree_with_scipy_with_ties(ratings):
    gold, answers = ratings
    rho = [stats.spearmanr(gold[:, i], answers[:, i]).statistic for i in range(2)]
    r = [stats.pearsonr(gold[:, i], answers[:, i]).statistic for i in range(2)]
    assert find("spearman")(gold, answers) == pytest.approx(np.mean(rho), abs=1e-12)
    assert find("pearson")(gold, answers) == pytest.approx(np.mean(r), abs=1e-12)
    assert find("spearman")(gold, answers, [True, False]) == pytest.approx(rho[0], abs=1e-12)
    assert find("spearman")(gold, gold) == pytest.approx(1.0, abs=1e-15)
    assert find("spearman")(gold * 1e-300, answers) == pytest.approx(np.mean(rho), abs=1e-12)


@pytest.mark.parametrize("name", ["spearman", "pearson"])
@pytest.mark.parametrize("answers", [[0.5, 0.5, 0.5], [0.1, np.nan, 0.3]])
def test_what_cannot_be_correlated_is_nan_as_in_scipy(name, answers):
    gold = np.array([[0.1], [0.2], [0.9]])
    assert math.isnan(find(name)(gold, np.array(answers)[:, None]))
    assert math.isnan(find(name)(gold[:1], gold[:1]))
    assert math.isnan(find(name)(np.ones((3, 1)), gold))


def test_errors_are_means_over_columns(ratings):
    gold, answers = ratings
    gaps = gold - answers
    assert find("rmse")(gold, answers) == pytest.approx(np.sqrt((gaps**2).mean(axis=0)).mean())
    assert find("mae")(gold, answers) == pytest.approx(np.abs(gaps).mean())
    gold[5, 0] = np.nan
    expected = (np.abs(gaps[np.arange(300) != 5, 0]).mean() + np.abs(gaps[:, 1]).mean()) / 2
    assert find("mae")(gold, answers) == pytest.approx(expected, abs=1e-12)


def test_jensen_shannon_is_a_divergence_in_bits():
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(5)
    gold, answers = rng.dirichlet(np.ones(4), 50), rng.dirichlet(np.ones(4), 50)
    expected = np.mean(
        [jensenshannon(p, q, base=2) ** 2 for p, q in zip(gold, answers, strict=True)]
    )
    assert find("jensen_shannon")(gold, answers) == pytest.approx(expected, abs=1e-12)
    one, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert find("jensen_shannon")(one, other) == 1.0
    assert find("jensen_shannon")(one, one * 3) == 0.0


def test_within_sd_takes_the_wider_of_one_and_the_spread():
    gold = np.array([[3.0], [3.0], [3.0], [3.0], [np.nan]])
    answers = np.array([[3.9], [4.0], [4.4], [4.5], [1.0]])
    spreads = np.array([0.1, 0.1, 1.5, 1.5, 9.0])
    assert find("within_sd")(gold, answers, beside=Beside(spreads=spreads)) == 0.5
    with pytest.raises(KitError, match=r"within_sd needs the spread .* \(scoring.spread_column\)"):
        find("within_sd")(gold, answers)


def test_consistency_of_pairs_as_by_hand():
    """Labels: forward, backward, equal, other. Pairs (0, 1), (2, 3), (4, 5); row 6 has none."""
    ids = list("abcdefg")
    reverse = metrics.pair_rows(ids, ["b", "", "d", "c", "f", "e", "none"])
    assert reverse.tolist() == [1, 0, 3, 2, 5, 4, -1]
    gold = np.eye(4)[[0, 1, 2, 2, 1, 0, 3]]
    answers = np.eye(4)[[0, 1, 0, 0, 3, 3, 3]]
    beside = Beside(reverse=reverse, reversal=(1, 0, 2, -1))
    # Only (0, 1) agrees: (2, 3) says forward twice, (4, 5) says what has no reversal.
    assert find("soft_cons")(gold, answers, beside=beside) == 1 / 3
    assert find("hard_cons")(gold, answers, beside=beside) == 1 / 3
    assert find("soft_cons")(gold, np.eye(4)[[2] * 7], beside=beside) == 1.0
    assert find("hard_cons")(gold, np.eye(4)[[2] * 7], beside=beside) == 1 / 3
    half = beside.take(np.array([1, 0, 2, 6]))
    assert half.reverse.tolist() == [1, 0, -1, -1]
    with pytest.raises(KitError, match=r"scoring.reverse_column"):
        find("soft_cons")(gold, answers)


def test_rows_with_swapped_texts_are_pairs_within_their_key():
    keys = [1, 1, 1, 2, 2]
    firsts, seconds = ["x", "y", "x", "x", "z"], ["y", "x", "x", "y", "z"]
    assert metrics.pair_swapped(keys, firsts, seconds).tolist() == [1, 0, -1, -1, -1]


def test_a_cell_that_nobody_judged_is_neither_right_nor_wrong():
    gold = np.array([[1, np.nan], [0, 1], [np.nan, np.nan]])
    answers = np.array([[1, 1], [0, 0], [1, 1]])
    assert find("exact_match")(gold, answers) == 0.5
    assert find("jaccard")(gold, answers) == 0.5
    assert find("macro_f1")(gold, answers) == 0.5
    assert find("macro_f1")(gold, answers, np.array([True, False])) == 1.0


def test_every_metric_has_facts_and_the_other_way_round():
    assert {*metrics.METRICS, "macro_auc"} == set(METRIC_FACTS)
    assert find("rmse").facts.low_is_better
    assert find("within_sd").facts.needs == "spread"
    assert "spearman" in list_metrics("regression")
    assert list_metrics("distribution") == ["jensen_shannon", "mae", "rmse"]
    with pytest.raises(KitError, match="metric 'f2' is unknown. Choose one of"):
        find("f2")


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_what_the_docs_say_of_a_metric_holds(name: str) -> None:
    """Its range holds any answers, and the better end of it the right ones."""
    facts, rng = METRIC_FACTS[name], np.random.default_rng(0)
    gold, answers = (np.eye(3)[rng.integers(0, 3, 60)] for _ in range(2))
    if set(facts.kinds) & {"regression", "distribution"}:
        gold = rng.dirichlet([1, 1, 1], 60)
    beside = Beside(rng.random(60) / 9, np.arange(60) ^ 1, (0, 1, 2), np.arange(60) // 4)
    value, highest = find(name)(gold, answers, beside=beside), facts.highest or math.inf
    assert facts.lowest <= value <= highest
    if name == "soft_cons":  # of gold that is each other's reversal
        gold[1::2] = gold[::2]
    right = find(name)(gold, gold, beside=beside)
    assert right == pytest.approx(facts.lowest if facts.low_is_better else highest, abs=1e-12)
    assert facts.about
    assert facts.source
    assert not facts.about.endswith(".")
