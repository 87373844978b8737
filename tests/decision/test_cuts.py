from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest

from semeval_kit.decision.rule import apply_cuts
from semeval_kit.decision.tallies import draw_counts
from semeval_kit.decision.thresholds import tune_cuts, tune_shared_cuts


def pearson(gold: np.ndarray, preds: np.ndarray) -> float:
    if gold.std() == 0 or preds.std() == 0:
        return 0.0
    return float(np.corrcoef(gold, preds)[0, 1])


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=n)
    gold = np.digitize(latent + rng.normal(scale=0.7, size=n), [0.3, 1.2, 2.0]).astype(float)
    return 3 / (1 + np.exp(-latent)), gold


def brute(expected: np.ndarray, gold: np.ndarray, n_levels: int) -> float:
    values = np.unique(expected)
    edges = [*values, np.inf]
    return max(
        pearson(gold, apply_cuts(expected, np.array(cuts)))
        for cuts in combinations_with_replacement(edges, n_levels)
    )


def whole(n: int) -> np.ndarray:
    return np.ones((1, n), dtype=np.int32)


@pytest.mark.parametrize("seed", range(6))
def test_coordinate_ascent_reaches_nearly_the_best_of_all_cuts(seed: int) -> None:
    expected, gold = draw(24, seed)
    cuts = tune_cuts(expected, gold, whole(24), 3)[0]
    reached, best = pearson(gold, apply_cuts(expected, cuts)), brute(expected, gold, 3)
    assert best - 0.02 <= reached <= best + 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_one_level_is_exact_even_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected, gold = rng.integers(0, 8, 40) / 8, rng.integers(0, 2, 40).astype(float)
    cuts = tune_cuts(expected, gold, whole(40), 1)[0]
    found = pearson(gold, apply_cuts(expected, cuts))
    assert found == pytest.approx(brute(expected, gold, 1), abs=1e-12)


def test_bootstraps_equal_repeated_rows() -> None:
    expected, gold = draw(60, 1)
    counts = draw_counts(8, np.arange(60), np.random.default_rng(0))
    found = tune_cuts(expected, gold, counts, 3)
    for cuts, count in zip(found, counts, strict=True):
        rows = np.repeat(np.arange(60), count)
        alone = tune_cuts(expected[rows], gold[rows], whole(len(rows)), 3)[0]
        reached, own = (pearson(gold[rows], apply_cuts(expected[rows], c)) for c in (cuts, alone))
        assert reached == pytest.approx(own, abs=0.02)
        assert (np.diff(cuts) >= 0).all()


def test_constant_gold_has_no_cuts() -> None:
    assert np.isnan(tune_cuts(np.linspace(0, 3, 9), np.ones(9), whole(9), 3)).all()


def test_equal_expected_levels() -> None:
    cuts = tune_cuts(np.full(6, 0.5), np.array([0.0, 1, 2, 3, 0, 1]), whole(6), 3)[0]
    assert len(set(apply_cuts(np.full(6, 0.5), cuts))) == 1


def test_perfect_scores_give_perfect_levels() -> None:
    gold = np.array([0.0, 1, 2, 3] * 10)
    expected = gold * 0.7 + 0.1
    cuts = tune_cuts(expected, gold, whole(40), 3)[0]
    assert apply_cuts(expected, cuts).tolist() == gold.tolist()


def test_shared_cuts_of_one_label_are_its_own() -> None:
    expected, gold = draw(80, 2)
    shared = tune_shared_cuts(expected[:, None], gold[:, None], 3)
    assert shared.tolist() == tune_cuts(expected, gold, whole(80), 3)[0].tolist()


def test_shared_cuts_leave_out_what_is_not_annotated_or_constant() -> None:
    expected, gold = draw(80, 3)
    both = np.stack([expected, expected[::-1], expected], axis=1)
    levels = np.stack([gold, np.zeros(80), np.full(80, np.nan)], axis=1)
    alone = tune_shared_cuts(expected[:, None], gold[:, None], 3)
    np.testing.assert_allclose(tune_shared_cuts(both, levels, 3), alone)
    assert tune_shared_cuts(both[:, 1:], levels[:, 1:], 3).tolist() == [0.5, 1.5, 2.5]


def test_levels_at_the_cut_are_reached_and_nan_never() -> None:
    cuts = np.array([[0.5, 1.0, 2.0], [np.nan] * 3])
    assert apply_cuts(np.array([[1.0, 3.0], [0.49, 0.0]]), cuts).tolist() == [[2, 0], [0, 0]]
