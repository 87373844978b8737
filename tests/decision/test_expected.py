"""What the upload will score: moved to other shares of labels, raised by averaging, or withheld."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from semeval_kit.decision.averaging import NewRows, Upload
from semeval_kit.decision.expected import expect_score, read_labelled
from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.resampling import Board
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.decision.tuning import cross_fit, tune_rule
from semeval_kit.decision.verdict import judge_run
from semeval_kit.submission.metrics import Beside

LABELS = ("anger", "joy", "fear")
TUNING = Tuning(n_bags=5)
PARTS = np.arange(1000) % 5


def draw(n: int, seed: int, shares: tuple[float, ...] = (0.2, 0.4, 0.15), noise: float = 0.8):
    """Five models' probs `(5, n, 3)` of labels with the given shares."""
    rng = np.random.default_rng(seed)
    gold = (rng.random((n, 3)) < shares).astype(float)
    seen = 1.6 * (2 * gold - 1) + rng.normal(size=(n, 3)) + rng.normal(scale=noise, size=(5, n, 3))
    return 1 / (1 + np.exp(-seen)), gold


def lay(n: int, seed: int, **shares):
    probs, gold = draw(n, seed, **shares)
    folds = np.arange(n) % 5
    rows = OofRows.of(probs[folds, np.arange(n)], gold, ["eng"] * n, LABELS, None, folds)
    return rows, Board.of("macro_f1", gold, rows.languages), tune_rule(rows, TUNING)


def new_rows(n: int, seed: int, labelled: bool = False, **shares) -> NewRows:
    probs, gold = draw(n, seed, **shares)
    return NewRows("test", probs, ("eng",) * n, gold if labelled else None, np.arange(n))


def true_score(rule, new: NewRows, gold: np.ndarray) -> float:
    mean, _ = new.decide(rule, TUNING)
    return Board.of("macro_f1", gold, new.languages).score(mean)


@pytest.mark.slow
def test_nine_of_ten_intervals_hold_what_the_mean_scores() -> None:
    errors, held, naive = [], 0, []
    for seed in range(20):
        rows, board, rule = lay(600, seed)
        new = new_rows(600, 100 + seed)
        answers = cross_fit(rows, TUNING)
        found = expect_score(Upload(board, rows, rule, TUNING), answers, [new])
        truth = true_score(rule, new, draw(600, 100 + seed)[1])
        errors.append(found.score - truth)
        naive.append(board.score(answers) - truth)
        held += found.low <= truth <= found.high
        assert found.score == pytest.approx(found.base + found.gain, abs=1e-12)
        assert (found.n_models, found.n_rows, found.split) == (5, 600, "test")
        assert not found.reweighted
    assert held >= 18
    assert abs(np.mean(errors)) < 0.01
    assert np.mean(naive) < -0.03


def test_other_shares_of_labels_move_the_figure() -> None:
    rows, board, rule = lay(3000, 0)
    shares = (0.05, 0.4, 0.15)
    new = new_rows(3000, 1, shares=shares)
    found = expect_score(Upload(board, rows, rule, TUNING), cross_fit(rows, TUNING), [new])
    truth = true_score(rule, new, draw(3000, 1, shares=shares)[1])
    same = expect_score(
        Upload(board, rows, rule, TUNING), cross_fit(rows, TUNING), [new_rows(3000, 1)]
    )
    assert [drift.label for drift in found.drifts] == ["anger"]
    assert found.reweighted
    assert found.base < same.base - 0.03
    assert found.score == pytest.approx(truth, abs=0.03)
    assert found.low <= truth <= found.high
    assert found.high - found.low > same.high - same.low
    assert found.warnings[0].startswith("eng 'anger': ")
    assert "other shares of labels" in found.notes[1]


def test_rates_that_no_shares_explain_withhold_the_figure() -> None:
    rows, board, rule = lay(2000, 2)
    new = new_rows(2000, 3)
    # Models that call no row joyful at all, where they call wrongly now and then out of fold.
    probs = new.probs.copy()
    probs[:, :, 1] = 1.0
    odd = NewRows("test", probs, new.languages, None, new.groups)
    found = expect_score(Upload(board, rows, rule, TUNING), cross_fit(rows, TUNING), [odd])
    assert "no other shares of labels explain" in found.withheld
    stored = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert stored["score"] is None
    assert stored["languages"] == {}
    assert any("is not foretold" in note for note in found.notes)


def test_single_labels_are_moved_by_their_confusion() -> None:
    rng = np.random.default_rng(4)

    def draw_single(n: int, shares: list[float]):
        gold = np.eye(3)[rng.choice(3, n, p=shares)]
        odds = 2.0 * gold + rng.normal(size=(1, n, 3)) + rng.normal(scale=0.3, size=(5, n, 3))
        probs = np.exp(odds) / np.exp(odds).sum(axis=2, keepdims=True)
        return probs, gold

    probs, gold = draw_single(4000, [0.4, 0.4, 0.2])
    tuning = Tuning("singlelabel", metric="hard_cons")  # argmax, without offsets
    folds = np.arange(4000) % 5
    rows = OofRows.of(probs[folds, np.arange(4000)], gold, ["eng"] * 4000, "abc", None, folds)
    board = Board.of("micro_f1", gold, rows.languages, [False, True, True])
    rule = tune_rule(rows, tuning)
    probs, truth = draw_single(4000, [0.9, 0.05, 0.05])
    new = NewRows("test", probs, ("eng",) * 4000, None, np.arange(4000))
    found = expect_score(Upload(board, rows, rule, tuning), cross_fit(rows, tuning), [new])
    mean, _ = new.decide(rule, tuning)
    scored = Board.of("micro_f1", truth, new.languages, [False, True, True])
    promised = board.score(cross_fit(rows, tuning))
    assert promised > scored.score(mean) + 0.2
    assert found.score == pytest.approx(scored.score(mean), abs=0.03)


def test_labelled_rows_are_scored_and_measure_the_gain_too() -> None:
    rows, board, rule = lay(600, 5)
    test, dev = new_rows(600, 6), new_rows(200, 7, labelled=True)
    found = expect_score(Upload(board, rows, rule, TUNING), cross_fit(rows, TUNING), [test, dev])
    assert found.paired is not None
    alone = expect_score(Upload(board, rows, rule, TUNING), cross_fit(rows, TUNING), [test])
    assert alone.paired is None
    assert found.gain_error < alone.gain_error
    reading = read_labelled(Upload(board, rows, rule, TUNING), [test, dev])
    assert reading["score"] == true_score(rule, dev, dev.gold)
    assert reading["low"] < reading["score"] < reading["high"]
    assert reading["n_examples"] == 200


def test_without_new_rows_only_the_interval_grows() -> None:
    rows, board, rule = lay(600, 8)
    found = expect_score(Upload(board, rows, rule, TUNING), cross_fit(rows, TUNING), [])
    assert found.score == board.score(cross_fit(rows, TUNING))
    assert (found.gain, found.n_models, found.n_rows) == (0.0, 1, 0)
    drawn = board.resample([cross_fit(rows, TUNING)], 500, 0)[:, 0]
    assert found.high - found.low == pytest.approx(1.15 * 2 * 1.96 * np.sqrt(2) * drawn.std())


def test_a_model_that_beats_every_floor_has_learnt() -> None:
    rows, board, _ = lay(600, 9)
    answers = cross_fit(rows, TUNING)
    found = judge_run(
        board, answers, LABELS, "multilabel", rows.folds, linear=np.ones_like(answers)
    )
    assert found.learnt
    assert found.reasons == ()
    assert [floor.low > 0 for floor in found.floors] == [True, True]
    pi = board.gold.mean(axis=0)
    assert found.floors[0].score == pytest.approx((2 * pi / (1 + pi)).mean(), abs=1e-12)


def test_why_a_model_has_not_learnt_is_said() -> None:
    rows, board, _ = lay(600, 10)
    answers = cross_fit(rows, TUNING)
    answers[:, 0], answers[:, 1] = 0, 1
    found = judge_run(
        board, answers, LABELS, "multilabel", rows.folds, linear=cross_fit(rows, TUNING)
    )
    positives = [int(n) for n in board.gold.sum(axis=0)]
    assert not found.learnt
    assert found.reasons[:2] == (
        f"label 'anger' is never predicted ({positives[0]} rows have it)",
        f"label 'joy' is always predicted ({positives[1]} rows have it)",
    )
    plain, told = found.reasons[2].split(" scores 0.")
    assert plain == "word n-grams and logistic regression"
    assert "(not --model tfidf, which reads characters, too), the run " in told
    commonest = np.eye(3)[np.zeros(600, int)]
    single = Board.of("accuracy", commonest, ["eng"] * 600)
    same = judge_run(single, commonest.astype(int), LABELS, "singlelabel", PARTS[:600])
    assert same.reasons == ("the same answer for every row scores 1.0000, the run 1.0000",)


def test_numbers_are_held_against_a_constant_and_a_ridge() -> None:
    gold = np.linspace(0, 1, 50)[:, None]
    board, parts = Board.of("rmse", gold, ["eng"] * 50), PARTS[:50]
    found = judge_run(board, gold + 0.1, ("score",), "regression", parts, linear=gold + 0.2)
    constant, ridge = found.floors
    assert ridge.name == "word n-grams and ridge regression"
    assert "not --model tfidf" in ridge.note
    assert (ridge.score, ridge.above) == (pytest.approx(0.2), pytest.approx(0.1))
    means = np.array([gold[parts != part].mean() for part in parts])
    assert constant.name == "the same number for every row"
    assert constant.score == pytest.approx(np.sqrt(((gold[:, 0] - means) ** 2).mean()), abs=1e-12)
    assert constant.answer == {"score": pytest.approx(0.5)}
    assert constant.above == pytest.approx(constant.score - 0.1)


def test_a_run_below_the_best_constant_has_not_learnt() -> None:
    """Half of the ratings are near 2, a third near 3.5: the best constant is right for both."""
    rng = np.random.default_rng(0)
    gold = rng.choice([2.0, 3.0, 5.0], 300, p=[0.5, 0.3, 0.2])[:, None]
    board = replace(
        Board.of("within_sd", gold, ["eng"] * 300),
        beside=Beside(spreads=np.full(300, 0.5)),
    )
    noise = gold + rng.choice([0.0, 1.5], gold.shape, p=[0.6, 0.4])
    found = judge_run(board, noise, ("average",), "regression", PARTS[:300])
    (floor,) = found.floors
    both = float((gold < 4).mean())
    assert 2.0 < floor.answer["average"] < 3.0
    assert floor.score == pytest.approx(both, abs=1e-12)
    assert found.reasons == (
        f"the same number for every row scores {both:.4f}, the run {board.score(noise):.4f}",
    )
    by_hand = max(board.score(np.full(gold.shape, step)) for step in np.linspace(2, 5, 301))
    assert floor.score == by_hand


def test_a_constant_has_no_correlation() -> None:
    gold = np.linspace(0, 1, 50)[:, None]
    board = Board.of("spearman", gold, ["eng"] * 50)
    found = judge_run(board, -gold, ("score",), "regression", PARTS[:50])
    (floor,) = found.floors
    assert (floor.score, floor.above, floor.answer) == (0.0, pytest.approx(-1.0), {})
    assert found.reasons == (
        "the same number for every row scores 0.0000 "
        "(a constant correlates with nothing and counts as 0), the run -1.0000",
    )


def test_the_best_levels_of_all_rows_are_found_by_the_metric() -> None:
    gold = np.array([[0, 2], [0, 2], [3, 0], [3, 0], [3, 1], [0, 0], [1, 1], [0, 2]] * 5, float)
    board = Board.of("exact_match", gold, ["eng"] * 40)
    (floor,) = judge_run(board, gold, ("a", "b"), "intensity", PARTS[:40]).floors
    assert floor.name == "the same levels for every row"
    assert floor.answer == {"a": 0.0, "b": 2.0}
    shares = np.full((40, 2), 0.5)
    divergence = Board.of("jensen_shannon", shares, ["eng"] * 40)
    parts = PARTS[:40]
    (even,) = judge_run(divergence, shares[:, ::-1], ("a", "b"), "distribution", parts).floors
    assert (even.score, even.answer) == (0.0, {"a": 0.5, "b": 0.5})


def lay_numbers(seed: int, quality: float):
    """Out-of-fold rows of numbers, what five models say of others, and the rule.

    Predictions follow gold by `quality`: below 0 they rank the other way round.
    """
    rng = np.random.default_rng(seed)
    gold = rng.normal(size=(400, 1))
    own = quality * gold + rng.normal(size=(400, 1))
    voices = rng.normal(size=(5, 300, 1)) + rng.normal(size=(1, 300, 1))
    rows = OofRows.of(own, gold, ["eng"] * 400, ("score",), None, np.arange(400) % 5)
    new = NewRows("test", voices, ("eng",) * 300, None, np.arange(300))
    tuning = Tuning("regression", metric="spearman")
    return rows, new, tuning, Board.of("spearman", gold, rows.languages)


@pytest.mark.parametrize(("quality", "gains"), [(0.5, True), (-0.5, False)])
def test_what_ranks_no_better_than_chance_gains_nothing_by_averaging(quality, gains) -> None:
    rows, new, tuning, board = lay_numbers(0, quality)
    found = expect_score(Upload(board, rows, tune_rule(rows, tuning), tuning), rows.probs, [new])
    assert (found.base > 0) == gains
    assert (found.gain > 0.05) == gains
    assert found.score == pytest.approx(found.base + found.gain, abs=1e-12)
    said = "no gain by averaging is foretold"
    if gains:
        assert found.at_chance == ()
        assert not any(said in note for note in found.notes)
    else:
        assert found.at_chance == ("eng",)
        assert found.gain == 0.0
        assert found.gain_error > 0.05  # what the algebra would have moved it by is doubt
        assert any(said in note for note in found.notes)
