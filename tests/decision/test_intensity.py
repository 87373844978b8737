from __future__ import annotations

import json

import numpy as np
import pytest

from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.rule import Thresholds, decode_probs, join_levels
from semeval_kit.decision.thresholds import Tuning, constant_thresholds
from semeval_kit.decision.tuning import tune_intensity
from semeval_kit.errors import KitError

LABELS = ("anger", "joy")
NAMES = tuple(f"{label}>={level}" for label in LABELS for level in (1, 2, 3))


def draw(n: int, seed: int, slope: float = 1.8) -> tuple[np.ndarray, np.ndarray]:
    """Event probs and event targets `(n, 6)`, the probs too flat for plain rounding."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 2))
    levels = np.digitize(latent + rng.normal(scale=0.8, size=(n, 2)), [0.6, 1.5, 2.4])
    probs = 1 / (1 + np.exp(-slope * (latent[:, :, None] - [0.9, 1.8, 2.7])))
    targets = (levels[:, :, None] >= [1, 2, 3]).astype(float)
    return probs.reshape(n, 6), targets.reshape(n, 6)


def mean_r(gold: np.ndarray, preds: np.ndarray) -> float:
    return float(
        np.mean([np.corrcoef(gold[:, label], preds[:, label])[0, 1] for label in range(2)])
    )


def test_running_and_stops_at_the_first_event_below_its_threshold() -> None:
    probs = np.array([[0.9, 0.4, 0.8, 0.6, 0.6, 0.6], [0.4, 0.9, 0.9, 0.5, 0.5, 0.1]])
    half = constant_thresholds(OofRows.of(probs, np.zeros((2, 6)), ["eng"] * 2, NAMES), 0.5, "half")
    assert decode_probs("intensity", probs, half, ["eng"] * 2).tolist() == [[1, 3], [0, 2]]


def test_levels_and_events_are_each_others_inverse() -> None:
    levels = np.array([[0, 3.0], [2, np.nan]])
    events = np.where(np.isnan(levels[:, :, None]), np.nan, levels[:, :, None] >= [1, 2, 3])
    np.testing.assert_array_equal(join_levels(events.reshape(2, 6), 3), levels)


def test_tuned_beats_plain_rounding_and_a_half_on_new_rows() -> None:
    probs, targets = draw(800, 0)
    found = tune_intensity(OofRows.of(probs, targets, ["eng"] * 800, NAMES), Tuning("intensity"))
    new, truth = draw(8000, 1)
    gold, languages = join_levels(truth, 3), ["eng"] * 8000
    half = constant_thresholds(OofRows.of(new, truth, languages, NAMES), 0.5, "half")
    rounded = np.rint(new.reshape(-1, 2, 3).sum(axis=2))
    tuned = mean_r(gold, decode_probs("intensity", new, found, languages))
    assert tuned > mean_r(gold, decode_probs("intensity", new, half, languages)) + 0.03
    assert tuned > mean_r(gold, rounded) + 0.005


def test_the_better_method_is_kept_and_the_margin_told() -> None:
    probs, targets = draw(600, 2)
    rule = tune_intensity(
        OofRows.of(probs, targets, ["eng"] * 600, NAMES), Tuning("intensity")
    ).intensity
    assert rule is not None
    scores = {name: rule.comparison[name] for name in ("running_and", "expected_value")}
    assert rule.method == rule.comparison["kept"] == max(scores, key=scores.get)
    assert rule.comparison["margin"] == max(scores.values()) - min(scores.values())


def test_running_and_is_kept_where_the_expected_value_misleads() -> None:
    # The two upper events are noise for the expected value; the running AND ignores them.
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 2, (500, 2))
    first = np.where(levels > 0, 0.8, 0.2)
    noise = rng.random((500, 2, 2)) * np.where(levels[:, :, None] > 0, 0.05, 1.0)
    probs = np.concatenate([first[:, :, None], noise], axis=2).reshape(500, 6)
    targets = (levels[:, :, None] >= [1, 2, 3]).astype(float).reshape(500, 6)
    found = tune_intensity(
        OofRows.of(probs, targets, ["eng"] * 500, NAMES), Tuning("intensity", n_bags=20)
    )
    assert found.intensity is not None
    assert found.intensity.method == "running_and"
    preds = decode_probs("intensity", probs, found, ["eng"] * 500)
    assert (preds > 0).tolist() == (levels > 0).tolist()


def test_json_round_trip_is_exact_and_decodes_the_same() -> None:
    probs, targets = draw(300, 4)
    targets[:150, :3] = np.nan
    languages = ["eng"] * 150 + ["deu"] * 150
    found = tune_intensity(
        OofRows.of(probs, targets, languages, NAMES), Tuning("intensity", n_bags=20)
    )
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Thresholds.from_json(json.loads(text))
    assert json.dumps(again.to_json(), allow_nan=False) == text
    assert again.intensity is not None
    assert again.intensity.joint.tobytes() == found.intensity.joint.tobytes()
    first, second = (decode_probs("intensity", probs, rule, languages) for rule in (found, again))
    assert first.tolist() == second.tolist()


def test_a_label_that_a_language_lacks_has_no_cuts_and_level_0() -> None:
    probs, targets = draw(400, 5)
    targets[:200, :3] = np.nan
    languages = ["eng"] * 200 + ["deu"] * 200
    found = tune_intensity(
        OofRows.of(probs, targets, languages, NAMES), Tuning("intensity", n_bags=20)
    )
    assert found.intensity is not None
    assert np.isnan(found.intensity.cuts["eng"][0]).all()
    assert not np.isnan(found.intensity.cuts["deu"]).any()
    preds = decode_probs("intensity", np.ones((400, 6)), found, languages)
    assert preds[:200, 0].sum() == 0
    assert (preds[200:] == 3).all()


def test_few_rows_of_a_level_lean_on_the_shared_cuts() -> None:
    probs, targets = draw(400, 6)
    targets[:, 2] = 0
    targets[:3, :3] = 1
    found = tune_intensity(
        OofRows.of(probs, targets, ["eng"] * 400, NAMES),
        Tuning("intensity", n_bags=20, shrinkage=0),
    )
    rule = found.intensity
    assert rule is not None
    assert found.joint_positives[2] == 3
    assert (np.diff(rule.joint, axis=1) >= 0).all()
    assert found.joint[2] == found.global_


def test_a_language_of_few_rows_takes_the_joint_cuts() -> None:
    probs, targets = draw(408, 7)
    languages = ["eng"] * 400 + ["swe"] * 8
    rule = tune_intensity(
        OofRows.of(probs, targets, languages, NAMES), Tuning("intensity", n_bags=20)
    ).intensity
    assert rule is not None
    few = targets[400:].sum(axis=0).reshape(2, 3) < 5
    assert few.sum() >= 5
    assert (rule.cuts["swe"][few] == rule.joint[few]).all()
    assert (rule.cuts["eng"] != rule.joint).any()


def test_same_seed_same_bytes() -> None:
    probs, targets = draw(200, 8)
    texts = [
        json.dumps(
            tune_intensity(
                OofRows.of(probs, targets, ["eng"] * 200, NAMES), Tuning("intensity", seed=seed)
            ).to_json()
        )
        for seed in (3, 3, 4)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_levels_must_divide_the_targets() -> None:
    with pytest.raises(KitError, match="4 targets are no multiple of 3 levels"):
        tune_intensity(
            OofRows.of(np.zeros((2, 4)), np.zeros((2, 4)), ["eng"] * 2, list("abcd")),
            Tuning("intensity"),
        )
