"""Several targets, numbers, and answers that are bound to each other."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from semeval_kit.decision.estimate import estimate_score
from semeval_kit.decision.oof import OofRows
from semeval_kit.decision.targets import (
    answers_of_probs,
    decide_labels,
    rules_from_json,
    rules_to_json,
)
from semeval_kit.decision.thresholds import Tuning, constant_thresholds
from semeval_kit.decision.tuning import tune_rule, untuned_rule
from semeval_kit.submission.metrics import Beside
from semeval_kit.task.task import Task

HEAD = """
name = "mine"
title = "Mine"
train_languages = ["eng"]
predict_languages = ["eng"]
"""
TAIL = """
[data]
text_columns = ["text"]
[data.files]
train = ["train.csv"]
test = ["test.csv"]
[submission]
member = "pred_{lang}.csv"
[scoring]
metrics = ["macro_f1"]
languages = ["eng"]
"""
TWO = """
[targets.hate]
kind = "singlelabel"
labels = ["yes", "no"]
[targets.whom]
kind = "multilabel"
layout = "joined"
labels = ["women", "men"]
none_word = "none"
[targets.score]
kind = "regression"
range = [1, 5]
auxiliary = true
[[rules.iff]]
target = "whom"
label = "none"
other = "hate"
other_label = "no"
"""


def make(targets: str, metric: str = "macro_f1") -> Task:
    text = HEAD + targets + TAIL.replace("macro_f1", metric)
    return Task.model_validate(tomllib.loads(text))


@pytest.fixture
def two() -> Task:
    return make(TWO)


def half(task: Task) -> dict:
    rules = {}
    for target in task.main_targets:
        names = target.labels
        rows = OofRows.of(np.zeros((1, len(names))), np.zeros((1, len(names))), ["eng"], names)
        rules[target.name] = untuned_rule(rows, target.kind)
    return rules


def test_bound_answers_are_decided_together_by_the_probabilities(two: Task) -> None:
    probs = np.array(
        [
            # yes, no, women, men, score
            [0.9, 0.1, 0.8, 0.1, 0.5],  # agree
            [0.55, 0.45, 0.1, 0.2, 0.5],  # yes, but nobody: nobody is surer
            [0.95, 0.05, 0.45, 0.2, 0.5],  # yes, but nobody: yes is surer, so the likelier group
            [0.4, 0.6, 0.9, 0.7, 0.5],  # no, but two groups: the groups are surer
        ]
    )
    found = decide_labels(two, half(two), probs, ["eng"] * 4)
    assert found.tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 1, 1, 0]]
    assert found.dtype == np.int64
    nobody, no = ~found[:, 2:4].any(axis=1), found[:, 1] > 0
    assert (nobody == no).all()


def test_rules_of_several_targets_survive_json(two: Task) -> None:
    stored = rules_to_json(half(two))
    assert list(stored) == ["targets"]
    assert list(rules_from_json(two, stored)) == ["hate", "whom"]
    one = {"main": half(two)["whom"]}
    assert rules_to_json(one)["rule"] == "half"


def test_numbers_are_answers_within_their_range() -> None:
    task = make('kind = "regression"\nrange = [1, 5]\n[labels]\ndefault = ["score"]\n', "mae")
    rows = OofRows.of(np.zeros((1, 1)), np.zeros((1, 1)), ["eng"], ["score"])
    rules = {"main": tune_rule(rows, Tuning("regression"))}
    probs = np.array([[0.0], [0.25], [1.5]])
    assert decide_labels(task, rules, probs, ["eng"] * 3).tolist() == [[1.0], [2.0], [5.0]]
    again = rules_from_json(task, rules_to_json(rules))
    assert decide_labels(task, again, probs, ["eng"] * 3).tolist() == [[1.0], [2.0], [5.0]]


def test_shares_sum_to_one() -> None:
    task = make('kind = "distribution"\n[labels]\ndefault = ["a", "b"]\n', "jensen_shannon")
    values = answers_of_probs(task.main_targets[0], np.array([[0.2, 0.2], [0.0, 0.0]]))
    assert values.tolist() == [[0.5, 0.5], [0.0, 0.0]]


@pytest.mark.parametrize("metric", ["spearman", "pearson", "rmse", "mae", "within_sd"])
def test_numbers_are_estimated_as_they_are(metric: str) -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    gold = np.round(1 + 4 * rng.random((300, 1)), 1)
    preds = gold + rng.normal(scale=0.8, size=gold.shape)
    folds, beside = np.arange(300) % 5, Beside(spreads=np.full(300, 0.5))
    rows = OofRows.of(preds, gold, ["eng"] * 300, ["score"], folds=folds, beside=beside)
    # Of shares no line is tuned.
    found = estimate_score(rows, Tuning("distribution", metric=metric), n_resamples=300)
    gaps = np.abs(gold - preds)
    expected = {
        "spearman": stats.spearmanr(gold[:, 0], preds[:, 0])[0],
        "pearson": stats.pearsonr(gold[:, 0], preds[:, 0])[0],
        "rmse": np.sqrt((gaps**2).mean()),
        "mae": gaps.mean(),
        "within_sd": (gaps < 1).mean(),
    }[metric]
    assert found.cross_fitted.score == found.at_half.score == pytest.approx(expected, abs=1e-12)
    assert found.cross_fitted.low < expected < found.cross_fitted.high
    assert found.tuned.tolist() == preds.tolist()
    assert found.partitions == (found.cross_fitted.score,) * len(found.partitions)


def test_a_label_below_its_threshold_is_seen_from_there(two: Task) -> None:
    rules = half(two)
    rows = OofRows.of(np.zeros((2, 2)), np.zeros((2, 2)), ["eng"] * 2, ["women", "men"])
    low = constant_thresholds(rows, 0.2, "low")
    rules["whom"] = low
    # Without the threshold of 0.2 nobody would be the surer answer.
    found = decide_labels(two, rules, np.array([[0.45, 0.55, 0.3, 0.1, 0.5]]), ["eng"])
    assert found.tolist() == [[1, 0, 1, 0, 0]]
