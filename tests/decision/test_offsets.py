"""Offsets of single labels: tuned where they help, left alone where they do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from semeval_kit.decision.estimate import Judging, estimate_score
from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.rule import Thresholds, decode_probs
from semeval_kit.decision.thresholds import Tuning
from semeval_kit.decision.tuning import choose_offsets, tune_rule

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
    plain = decode_probs("singlelabel", new.probs, None, new.languages)
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
    found = estimate_score(rows, tuning, Judging(metric=metric, n_resamples=200, n_partitions=2))
    assert found.cross_fitted.score > found.at_half.score + 0.03
    assert found.notes[0].startswith("The figure tuned in-sample")


def test_labels_without_a_row_and_rows_without_a_label() -> None:
    rows = draw(300, 4, lean=1.5)
    targets = rows.targets.copy()
    targets[:10] = np.nan
    targets[targets[:, 3] == 1] = np.nan
    found = choose_offsets(OofRows.of(rows.probs, targets, rows.languages, "abcd"), F1)
    assert found is None or np.isfinite(found).all()
