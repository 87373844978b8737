"""Weights of a blend: what they find, what they lean on, and what rows have no say in."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from semeval_kit.decision.blend import (
    Blending,
    BlendWeights,
    choose_weights,
    cross_fit_blend,
    fix_weights,
    judge_blend,
    mix_members,
)
from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.errors import KitError

NAMES = ("a", "b", "c")


def draw(n: int = 1500, seed: int = 0) -> tuple[list[np.ndarray], OofRows]:
    """Two members of equal worth whose errors differ, and one that knows nothing."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 2)) < [0.2, 0.5]).astype(float)
    odds = np.where(targets > 0, 1.5, -1.5)
    members = [1 / (1 + np.exp(-(odds + rng.normal(0, 1.5, odds.shape)))) for _ in range(2)]
    members.append(rng.uniform(0, 1, odds.shape))
    folds = rng.integers(0, 5, n)
    return members, OofRows.of(members[0], targets, ["eng"] * n, ["x", "y"], folds=folds)


def test_equals_share_and_what_knows_nothing_gets_next_to_nothing() -> None:
    members, rows = draw()
    weights = choose_weights(members, rows, NAMES, Blending())
    table = weights.of("eng")
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    assert abs(table[0, 0] - table[0, 1]) < 0.1
    assert table[0, 2] < 0.06
    assert weights.own == {"eng": ()}


def test_few_rows_lean_on_the_uniform_mean() -> None:
    members, rows = draw(40)
    table = choose_weights(members, rows, NAMES, Blending()).of("eng")
    assert np.abs(table - 1 / 3).max() < 0.08  # 40 rows have 40 / 240 of the say


def test_a_label_gets_weights_of_its_own_where_they_win() -> None:
    members, rows = draw(3000)
    swapped = [members[0].copy(), members[1].copy()]
    swapped[0][:, 1], swapped[1][:, 0] = members[2][:, 1], members[2][:, 0]
    weights = choose_weights(swapped, rows, NAMES[:2], Blending())
    assert weights.own == {"eng": ("x", "y")}
    assert weights.of("eng")[0, 0] > 0.8
    assert weights.of("eng")[1, 1] > 0.8
    shared = choose_weights(swapped, rows, NAMES[:2], Blending(by_label=False))
    assert shared.own == {"eng": ()}
    np.testing.assert_array_equal(shared.of("eng")[0], shared.of("eng")[1])


def test_a_language_has_its_own_weights_and_one_never_seen_the_joint_ones() -> None:
    members, rows = draw(3000)
    half = [np.where(np.arange(3000)[:, None] < 1500, members[k], members[2]) for k in (0, 1)]
    half[1] = np.where(np.arange(3000)[:, None] < 1500, members[2], members[1])
    languages = ["eng"] * 1500 + ["deu"] * 1500
    two = OofRows.of(rows.probs, rows.targets, languages, ["x", "y"], folds=rows.folds)
    weights = choose_weights(half, two, NAMES[:2], Blending())
    assert weights.of("eng")[0, 0] > 0.8
    assert weights.of("deu")[0, 1] > 0.8
    np.testing.assert_array_equal(weights.of("fra"), weights.joint)


def test_a_fold_is_blended_by_weights_that_it_had_no_say_in() -> None:
    members, rows = draw(600)
    mixed = cross_fit_blend(members, rows, NAMES, Blending(n_bags=2))
    targets = rows.targets.copy()
    targets[rows.folds == 2] = 1 - targets[rows.folds == 2]
    other = OofRows(rows.probs, targets, rows.languages, rows.target_names, rows.groups, rows.folds)
    again = cross_fit_blend(members, other, NAMES, Blending(n_bags=2))
    np.testing.assert_array_equal(mixed[rows.folds == 2], again[rows.folds == 2])
    assert not np.array_equal(mixed, again)


def test_cells_that_are_not_annotated_have_no_say() -> None:
    members, rows = draw()
    hidden = rows.targets.copy()
    hidden[::2] = np.nan
    half = OofRows.of(rows.probs, hidden, rows.languages, ["x", "y"], folds=rows.folds)
    table = choose_weights(members, half, NAMES, Blending()).of("eng")
    assert np.isfinite(table).all()
    assert table[0, 2] < 0.1


def test_hard_answers_of_one_member_do_not_decide_everything() -> None:
    members, rows = draw()
    hard = (members[0] > 0.5).astype(float)
    table = choose_weights([hard, members[1]], rows, NAMES[:2], Blending()).of("eng")
    assert 0.05 < table[0, 0] < 0.5


def test_weights_are_stored_in_full() -> None:
    members, rows = draw(200)
    weights = choose_weights(members, rows, NAMES, Blending())
    again = BlendWeights.from_json(json.loads(json.dumps(weights.to_json())))
    np.testing.assert_array_equal(again.of("eng"), weights.of("eng"))
    assert (again.names, again.own) == (weights.names, weights.own)


def test_a_mix_is_the_weighted_mean_and_needs_all_members() -> None:
    first, second = np.array([[0.2], [1.0]]), np.array([[0.6], [1.0]])
    weights = fix_weights(("a", "b"), ("x",), (1.0, 3.0))
    mixed = mix_members([first, second], weights, ["eng", "deu"])
    np.testing.assert_allclose(mixed, [[0.5], [1.0]])
    assert mixed.max() <= 1.0
    with pytest.raises(KitError, match="1 members of shapes"):
        mix_members([first], weights, ["eng", "deu"])


def test_the_blend_is_judged_beside_plainer_ones() -> None:
    members, rows = draw()
    blending = Blending(n_bags=3)
    blended = cross_fit_blend(members, rows, NAMES, blending)
    tuning = Tuning("multilabel", n_bags=5)
    judged = judge_blend(
        members, blended, rows, NAMES, lambda probs: replace(rows, probs=probs), tuning, blending
    )
    systems = {system["name"]: system for system in judged["systems"]}
    assert list(systems) == [
        "blend", "uniform mean", "a", "b", "c", "without a", "without b", "without c",
    ]  # fmt: skip
    assert systems["blend"]["less"] == [0.0, 0.0, 0.0]
    assert systems["c"]["less"][1] > 0.1
    gain, low, high = systems["without a"]["less"]
    assert 0 < low < gain < high
    low, high = systems["without c"]["less"][1:]
    assert low < 0.01
    assert systems["blend"]["score"] > systems["a"]["score"]
