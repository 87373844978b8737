"""Offsets of single labels and a line over numbers: tuned only where they help."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from semeval_kit.decision.estimate import estimate_score
from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.resampling import Board
from semeval_kit.decision.rule import Thresholds, decode_probs
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.decision.tuning import choose_line, choose_offsets, tune_rule, untuned_rule
from semeval_kit.submission.metrics import Beside

SHARES = np.array([0.6, 0.25, 0.1, 0.05])
F1 = Tuning("singlelabel", metric="macro_f1")


def draw(n: int, seed: int, lean: float) -> OofRows:
    """Rows whose log-probs lean to common labels by `lean` times their log share."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, n, p=SHARES)
    odds = 1.5 * np.eye(4)[truth] + rng.normal(size=(n, 4)) + lean * np.log(SHARES)
    probs = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    return OofRows.of(probs, np.eye(4)[truth], ["eng"] * n, "abcd", folds=np.arange(n) % 5)


def macro(rows: OofRows, preds: np.ndarray) -> float:
    return float(f1_score(rows.targets.argmax(1), preds.argmax(1), average="macro"))


def test_rare_labels_are_lifted_where_a_model_leans_to_common_ones() -> None:
    rows, new = draw(1500, 0, lean=1.5), draw(20_000, 1, lean=1.5)
    rule = tune_rule(rows, F1)
    assert rule.rule == "offsets"
    assert rule.offsets[3] > rule.offsets[0] + 1
    plain = decode_probs("singlelabel", new.probs, untuned_rule(new, "singlelabel"), new.languages)
    lifted = decode_probs("singlelabel", new.probs, rule, new.languages)
    assert macro(new, lifted) > macro(new, plain) + 0.1


def test_a_model_whose_probs_are_right_keeps_argmax_or_loses_nothing() -> None:
    """Accuracy is highest by argmax then."""
    tuning, lost = Tuning("singlelabel", metric="accuracy"), []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        probs = rng.dirichlet(4 * SHARES, 20_400)
        truth = (rng.random((20_400, 1)) > probs.cumsum(axis=1)).sum(axis=1)
        rows = OofRows.of(probs, np.eye(4)[truth], ["eng"] * 20_400, "abcd")
        rule = tune_rule(rows.take(np.arange(400)), tuning)
        new = rows.take(np.arange(400, 20_400))
        preds = decode_probs("singlelabel", new.probs, rule, new.languages)
        highest = np.eye(4)[new.probs.argmax(axis=1)]
        lost.append(float((new.targets * (highest - preds)).sum() / 20_000))
    assert sum(value == 0 for value in lost) >= 3
    assert max(lost) < 0.02


def test_offsets_survive_json_and_old_rules_have_none() -> None:
    rule = tune_rule(draw(800, 2, lean=1.5), F1)
    text = json.dumps(rule.to_json(), allow_nan=False)
    again = Thresholds.from_json(json.loads(text))
    assert again.offsets.tobytes() == rule.offsets.tobytes()
    plain = tune_rule(draw(800, 2, lean=1.5), Tuning("singlelabel", metric="soft_cons"))
    assert "offsets" not in plain.to_json()
    assert Thresholds.from_json(plain.to_json()).offsets is None


@pytest.mark.parametrize("metric", ["accuracy", "micro_f1"])
def test_the_estimate_of_offsets_is_cross_fitted(metric: str) -> None:
    rows = draw(1000, 3, lean=-1.2)  # a model that leans to rare labels
    tuning = Tuning("singlelabel", metric=metric)
    found = estimate_score(rows, tuning, n_resamples=200, n_partitions=2)
    assert found.cross_fitted.score > found.at_half.score + 0.03
    assert found.notes[0].startswith("The figure tuned in-sample")


def test_labels_without_a_row_and_rows_without_a_label() -> None:
    rows = draw(300, 4, lean=1.5)
    targets = rows.targets.copy()
    targets[:10] = np.nan
    targets[targets[:, 3] == 1] = np.nan
    found = choose_offsets(OofRows.of(rows.probs, targets, rows.languages, "abcd"), F1)
    assert found is None or np.isfinite(found).all()


def draw_ratings(n: int, seed: int, signal: float) -> OofRows:
    """Ratings from 1 to 5, most of them near 4, and numbers that know a share of them."""
    rng = np.random.default_rng(seed)
    gold = np.clip(np.round(rng.normal(4.0, 0.9, (n, 1)), 1), 1, 5)
    numbers = 3 + signal * (gold - gold.mean()) + rng.normal(scale=0.4, size=gold.shape)
    beside = Beside(spreads=np.full(n, 0.5))
    return OofRows.of(numbers, gold, ["eng"] * n, ["y"], folds=np.arange(n) % 5, beside=beside)


@pytest.mark.parametrize("metric", ["within_sd", "rmse", "mae"])
def test_a_line_moves_numbers_to_where_ratings_are_and_keeps_their_ranks(metric: str) -> None:
    tuning = Tuning("regression", metric=metric, limits=(1.0, 5.0))
    rows, new = draw_ratings(600, 0, 0.3), draw_ratings(5000, 1, 0.3)
    rule = tune_rule(rows, tuning)
    assert rule.rule == "line"
    answers = decode_probs("regression", new.probs, rule, new.languages)
    board = Board.of(metric, new.targets, new.languages, beside=new.beside)
    sign = -1 if metric in ("rmse", "mae") else 1
    assert sign * board.score(answers) > sign * board.score(new.probs) + 0.1
    assert (answers.min(), answers.max()) >= (1.0, 1.0)
    assert answers.max() <= 5.0
    assert (np.diff(answers[np.argsort(new.probs[:, 0]), 0]) >= 0).all()
    found = estimate_score(rows, tuning, n_resamples=100, n_partitions=2)
    assert found.cross_fitted.score == pytest.approx(board.score(answers), abs=0.06)
    again = Thresholds.from_json(json.loads(json.dumps(rule.to_json(), allow_nan=False)))
    assert decode_probs("regression", new.probs, again, new.languages).tolist() == answers.tolist()


def test_numbers_that_are_right_are_left_alone_and_so_are_ranks() -> None:
    rows = draw_ratings(400, 2, 1.0)
    right = replace(rows, probs=rows.targets)
    for metric in ("within_sd", "rmse", "mae"):
        assert choose_line(right, Tuning("regression", metric=metric)) is None
    for metric in ("spearman", "pearson", ""):
        assert tune_rule(rows, Tuning("regression", metric=metric)).rule == "identity"


def test_each_number_of_a_row_has_a_line_of_its_own_and_blank_gold_is_passed_over() -> None:
    rng = np.random.default_rng(3)
    gold = rng.normal(size=(400, 2))
    numbers = np.stack([gold[:, 0] + 1, gold[:, 1] - 1], axis=1)
    gold[:50, 1] = np.nan
    rows = OofRows.of(numbers, gold, ["eng"] * 400, "ab", folds=np.arange(400) % 5)
    line = choose_line(rows, Tuning("regression", metric="rmse"))
    assert line is not None
    assert line.slopes.tolist() == [1.0, 1.0]
    assert line.intercepts == pytest.approx([-1, 1], abs=0.1)
    assert "limits" in line.to_json()
