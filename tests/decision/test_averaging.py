"""What averaging gains: foretold without labels, held against labels that are known here."""

from __future__ import annotations

import numpy as np
import pytest

from semeval_kit.decision.averaging import (
    Gain,
    NewRows,
    Upload,
    fit_curve,
    foretell_chances,
    foretell_gain,
    measure_gain,
)
from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.resampling import Board
from semeval_kit.decision.thresholds import Tuning, tune_thresholds
from semeval_kit.decision.tuning import tune_rule

LABELS = ("anger", "joy", "fear")


def draw_models(n: int, seed: int, noise: float, n_models: int = 5):
    """Log-odds that models see with noise of their own: `(K, n, L)` probs, and labels."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 3)) * 1.5 + [-1.0, 0.0, -1.5]
    gold = (rng.random((n, 3)) < 1 / (1 + np.exp(-truth))).astype(float)
    seen = truth + rng.normal(scale=noise, size=(n_models, n, 3))
    return 1 / (1 + np.exp(-1.3 * seen)), gold


def lay_rows(n: int, seed: int, noise: float) -> OofRows:
    """Out-of-fold rows: the first model's probs of the first rows, the second's of the next."""
    probs, gold = draw_models(n, seed, noise)
    folds = np.arange(n) % 5
    return OofRows.of(probs[folds, np.arange(n)], gold, ["eng"] * n, LABELS, None, folds)


def lay_new(n: int, seed: int, noise: float, labelled: bool = False) -> NewRows:
    probs, gold = draw_models(n, seed, noise)
    return NewRows("test", probs, ("eng",) * n, gold if labelled else None, np.arange(n))


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "jaccard"])
@pytest.mark.parametrize("noise", [0.6, 1.2])
def test_the_foretold_gain_is_the_gain_that_labels_show(metric: str, noise: float) -> None:
    rows, new = lay_rows(3000, 0, noise), lay_new(10_000, 1, noise, labelled=True)
    rule = tune_thresholds(rows, Tuning(n_bags=10))
    board = Board.of(metric, rows.targets, rows.languages)
    foretold = foretell_gain(Upload(board, rows, rule, Tuning()), new)
    truth = measure_gain(Upload(board, rows, rule, Tuning()), new)
    assert truth.value > 0.005
    assert foretold.value == pytest.approx(truth.value, abs=max(0.004, 0.2 * truth.value))
    assert abs(foretold.value - truth.value) < 3 * np.hypot(foretold.error, truth.error)


def test_models_that_agree_gain_nothing() -> None:
    rows, new = lay_rows(500, 2, 0.5), lay_new(500, 3, 0.0)
    rule = tune_thresholds(rows, Tuning(n_bags=10))
    board = Board.of("macro_f1", rows.targets, rows.languages)
    assert foretell_gain(Upload(board, rows, rule, Tuning()), new).value == pytest.approx(
        0, abs=1e-12
    )
    one = NewRows("test", new.probs[:1], new.languages, None, new.groups)
    assert foretell_gain(Upload(board, rows, rule, Tuning()), one) == Gain(0.0, 0.0)


def test_levels_gain_in_pearson_r() -> None:
    rng = np.random.default_rng(4)

    def draw(n: int):
        latent = rng.normal(size=(n, 1))
        levels = np.digitize(latent + rng.normal(scale=0.6, size=(n, 1)), [0.3, 1.2, 2.0])
        seen = latent + rng.normal(scale=0.7, size=(5, n, 1))
        probs = 1 / (1 + np.exp(-2.0 * (seen - [0.4, 1.4, 2.3])))
        return probs, levels.astype(float), (levels >= [1, 2, 3]).astype(float)

    probs, levels, events = draw(3000)
    folds = np.arange(3000) % 5
    names = ["joy>=1", "joy>=2", "joy>=3"]
    rows = OofRows.of(probs[folds, np.arange(3000)], events, ["eng"] * 3000, names, None, folds)
    tuning = Tuning("intensity", n_bags=5)
    rule = tune_rule(rows, tuning)
    probs, gold, _ = draw(10_000)
    new = NewRows("test", probs, ("eng",) * 10_000, gold, np.arange(10_000))
    board = Board.of("pearson_r", levels, rows.languages)
    foretold = foretell_gain(Upload(board, rows, rule, tuning), new)
    truth = measure_gain(Upload(board, rows, rule, tuning), new)
    assert truth.value > 0.02
    assert foretold.value == pytest.approx(truth.value, rel=0.2)


@pytest.mark.parametrize("metric", ["pearson", "spearman", "rmse"])
def test_numbers_gain_by_algebra(metric: str) -> None:
    rng = np.random.default_rng(5)
    gold = rng.normal(size=(8000, 1))
    probs = gold + rng.normal(scale=0.8, size=(5, 8000, 1))
    rows = OofRows.of(probs[0, :4000], gold[:4000], ["eng"] * 4000, ["score"])
    new = NewRows("test", probs[:, 4000:], ("eng",) * 4000, gold[4000:], np.arange(4000))
    rule = tune_rule(rows, Tuning("regression"))
    board = Board.of(metric, rows.targets, rows.languages)
    foretold = foretell_gain(Upload(board, rows, rule, Tuning("regression")), new)
    truth = measure_gain(Upload(board, rows, rule, Tuning("regression")), new)
    assert foretold.value == pytest.approx(truth.value, rel=0.08)
    assert (foretold.value < 0) == (metric == "rmse")


def test_a_metric_that_says_nothing_of_it_has_no_gain() -> None:
    rows = OofRows.of(np.zeros((5, 1)), np.zeros((5, 1)), ["eng"] * 5, ["score"])
    new = NewRows("test", np.zeros((2, 5, 1)), ("eng",) * 5, None, np.arange(5))
    rule, board = tune_rule(rows, Tuning("regression")), Board.of("mae", rows.targets, ["eng"] * 5)
    assert foretell_gain(Upload(board, rows, rule, Tuning("regression")), new) is None


def test_gains_are_joined_by_precision() -> None:
    joined = Gain.join([Gain(0.010, 0.001), Gain(0.020, 0.002)])
    assert joined.value == pytest.approx(0.012)
    assert joined.error == pytest.approx((1 / 0.001**2 + 1 / 0.002**2) ** -0.5)


def test_the_curve_is_a_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(6)
    odds = rng.normal(size=2000) * 2
    gold = (rng.random(2000) < 1 / (1 + np.exp(-(0.5 + 0.7 * odds)))).astype(float)
    model = LogisticRegression(C=np.inf).fit(odds[:, None], gold)
    a, b = fit_curve(odds, gold)
    assert a == pytest.approx(model.intercept_[0], abs=0.01)
    assert b == pytest.approx(model.coef_[0, 0], abs=0.01)
    # Without a positive the curve stays finite.
    assert np.isfinite(fit_curve(odds, np.zeros(2000))).all()


def test_probs_that_are_the_wrong_way_round_are_not_believed_to_stay_so() -> None:
    rng = np.random.default_rng(7)
    gold = (rng.random((600, 1)) < 0.3).astype(float)
    seen = -1.5 * (2 * gold - 1) + rng.normal(size=(600, 1))
    rows = OofRows.of(1 / (1 + np.exp(-seen)), gold, ["eng"] * 600, ("joy",))
    voices = 1 / (1 + np.exp(-rng.normal(size=(5, 200, 1))))
    new = NewRows("test", voices, ("eng",) * 200, None, np.arange(200))
    chances = foretell_chances(rows, new, Tuning())
    assert chances == pytest.approx(np.full((200, 1), gold.mean()), abs=0.01)
