from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from semeval_kit.decision.resampling import Board, compare_systems, split_groups
from semeval_kit.errors import KitError


def macro(gold: np.ndarray, preds: np.ndarray) -> float:
    hits = 2 * (gold * preds).sum(axis=0)
    return float((hits / np.maximum(gold.sum(axis=0) + preds.sum(axis=0), 1)).mean())


@pytest.fixture
def systems() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    gold = (rng.random((150, 3)) < [0.2, 0.5, 0.3]).astype(float)
    better = np.where(rng.random(gold.shape) < 0.12, 1 - gold, gold).astype(int)
    worse = np.where(rng.random(gold.shape) < 0.25, 1 - gold, gold).astype(int)
    return gold, better, worse


def test_scores_are_those_of_scikit_learn(systems) -> None:
    gold, a, b = systems
    found = compare_systems(
        Board.of("macro_f1", gold, ["eng"] * 150), a, b, n_resamples=10, n_shuffles=10
    )
    assert found.score_a == pytest.approx(macro(gold, a), abs=1e-12)
    assert found.score_b == pytest.approx(macro(gold, b), abs=1e-12)
    assert found.difference == found.score_a - found.score_b
    assert (found.n_examples, found.n_groups) == (150, 150)


def test_interval_agrees_with_scipy(systems) -> None:
    gold, a, b = systems

    def difference(rows: np.ndarray) -> float:
        rows = rows.astype(int)
        return macro(gold[rows], a[rows]) - macro(gold[rows], b[rows])

    reference = stats.bootstrap(
        (np.arange(150),),
        difference,
        n_resamples=1000,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = compare_systems(
        Board.of("macro_f1", gold, ["eng"] * 150), a, b, n_resamples=4000, n_shuffles=10
    )
    assert found.low == pytest.approx(reference.low, abs=0.01)
    assert found.high == pytest.approx(reference.high, abs=0.01)


def test_resampled_scores_equal_scores_of_repeated_rows(systems) -> None:
    """The very draws of the seed, scored slowly by repeating rows, group by group."""
    gold, a, _ = systems
    units = np.arange(150) // 3
    board = Board.of("macro_f1", gold, ["eng"] * 150, groups=units)
    found = board.resample([a], 5, seed=7)
    rng = np.random.default_rng([7, 1, 0])
    for value in found[:, 0]:
        drawn = rng.integers(0, 50, 50)
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in drawn])
        assert value == pytest.approx(macro(gold[rows], a[rows]), abs=1e-12)


def test_p_value_agrees_with_a_slow_reference(systems) -> None:
    gold, a, _ = systems
    rng = np.random.default_rng(3)
    b = np.where(rng.random(gold.shape) < 0.04, 1 - a, a)
    found = compare_systems(Board.of("macro_f1", gold, ["eng"] * 150), a, b, n_resamples=10)
    observed = abs(macro(gold, a) - macro(gold, b))
    extreme = 0
    for _ in range(1000):
        swap = rng.random(150)[:, None] < 0.5
        gap = macro(gold, np.where(swap, b, a)) - macro(gold, np.where(swap, a, b))
        extreme += abs(gap) >= observed - 1e-12
    assert found.p_value == pytest.approx((extreme + 1) / 1001, abs=0.05)


def test_clear_winner_and_same_system(systems) -> None:
    gold, a, b = systems
    clear = compare_systems(Board.of("macro_f1", gold, ["eng"] * 150), a, b)
    assert clear.low > 0
    assert clear.p_value < 0.001
    same = compare_systems(Board.of("macro_f1", gold, ["eng"] * 150), a, a.copy())
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_p_values_of_equal_systems_are_uniform() -> None:
    rng = np.random.default_rng(5)
    found = []
    for seed in range(60):
        gold = (rng.random((80, 2)) < 0.4).astype(float)
        a, b = (np.where(rng.random(gold.shape) < 0.2, 1 - gold, gold).astype(int) for _ in "ab")
        found.append(
            compare_systems(
                Board.of("micro_f1", gold, ["eng"] * 80),
                a,
                b,
                n_resamples=5,
                n_shuffles=400,
                seed=seed,
            ).p_value
        )
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_groups_of_copies_widen_the_interval(systems) -> None:
    gold, a, b = (np.repeat(array, 4, axis=0) for array in systems)
    groups = np.repeat(np.arange(150), 4).tolist()
    alone = compare_systems(Board.of("macro_f1", gold, ["eng"] * 600), a, b, n_shuffles=10)
    together = compare_systems(
        Board.of("macro_f1", gold, ["eng"] * 600, groups=groups), a, b, n_shuffles=10
    )
    assert together.n_groups == 150
    assert (together.high - together.low) == pytest.approx(2 * (alone.high - alone.low), rel=0.15)


def test_score_is_the_mean_over_languages_and_their_labels(systems) -> None:
    gold, a, b = (array.copy() for array in systems)
    gold[:50, 2] = np.nan
    languages = ["afr"] * 50 + ["eng"] * 100
    found = compare_systems(
        Board.of("macro_f1", gold, languages), a, b, n_resamples=10, n_shuffles=10
    )
    expected = (macro(gold[:50, :2], a[:50, :2]) + macro(gold[50:], a[50:])) / 2
    assert found.score_a == pytest.approx(expected, abs=1e-12)


def test_pearson() -> None:
    rng = np.random.default_rng(8)
    gold = rng.integers(0, 4, (200, 2)).astype(float)
    a = np.clip(gold + rng.integers(-1, 2, gold.shape), 0, 3).astype(int)
    b = rng.permuted(a, axis=0)
    found = compare_systems(Board.of("pearson_r", gold, ["eng"] * 200), a, b, n_shuffles=2000)
    r = [stats.pearsonr(gold[:, label], a[:, label])[0] for label in range(2)]
    assert found.score_a == pytest.approx(np.mean(r), abs=1e-12)
    assert found.p_value == 1 / 2001


def test_same_seed_same_numbers(systems) -> None:
    gold, a, b = systems
    found = [
        compare_systems(Board.of("micro_f1", gold, ["eng"] * 150), a, b, seed=s) for s in (1, 1, 2)
    ]
    assert found[0].to_json() == found[1].to_json()
    assert found[0].low != found[2].low


def test_shapes_are_checked() -> None:
    with pytest.raises(KitError, match=r"gold \(2, 1\), A \(2, 1\) and B \(3, 1\)"):
        compare_systems(
            Board.of("macro_f1", np.zeros((2, 1)), ["eng"] * 2), np.zeros((2, 1)), np.zeros((3, 1))
        )


def test_ten_thousand_shuffles_are_matrix_products() -> None:
    rng = np.random.default_rng(9)
    gold = (rng.random((2767, 5)) < 0.3).astype(float)
    a, b = (np.where(rng.random(gold.shape) < p, 1 - gold, gold).astype(int) for p in (0.2, 0.21))
    start = time.perf_counter()
    compare_systems(Board.of("macro_f1", gold, ["eng"] * 2767), a, b)
    # Measured 1.2 s; the bound only catches a loop over rounds and rows.
    assert time.perf_counter() - start < 20


def test_groups_stay_whole_and_parts_are_even() -> None:
    groups = np.arange(1000) // 2
    parts = split_groups(groups, ["eng"] * 1000, 5, np.random.default_rng(0))
    assert (parts[::2] == parts[1::2]).all()
    assert np.bincount(parts).tolist() == [200] * 5


def test_every_part_holds_its_share_of_every_language() -> None:
    languages = ["eng", "deu", "deu", "swe"] * 50
    parts = split_groups(np.arange(200), languages, 5, np.random.default_rng(1))
    for language, rows in (("eng", 50), ("deu", 100), ("swe", 50)):
        own = parts[np.array(languages) == language]
        assert np.abs(np.bincount(own, minlength=5) - rows / 5).max() <= 1


def test_partitions_differ_by_seed_only() -> None:
    groups = np.arange(40)
    found = [
        split_groups(groups, ["eng"] * 40, 4, np.random.default_rng(seed)).tolist()
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]
