"""What a head gives: loss, probabilities and scores of an epoch, against scikit-learn and torch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from semeval_kit.training.head import Target, TargetLoss, Targets
from semeval_kit.training.progress import measure


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


def made(n: int, kind: Any = "multilabel", n_levels: int = 1) -> Targets:
    return Targets((Target(kind, tuple(f"label {column}" for column in range(n)), n_levels),))


def to_probs(logits: np.ndarray, kind: Any) -> np.ndarray:
    return made(logits.shape[1], kind).to_probs(torch.tensor(logits)).numpy()


def test_scores_are_those_of_scikit_learn(draw: np.random.Generator) -> None:
    targets = (draw.random((200, 5)) < [0.5, 0.3, 0.2, 0.05, 0.0]).astype(float)
    probs = np.clip(0.5 * targets + draw.random((200, 5)) * 0.6, 0, 1)
    chosen = (probs >= 0.5).astype(int)
    found = measure(probs, targets, made(probs.shape[1]))
    for average in ("macro", "micro", "weighted"):
        expected = metrics.f1_score(targets, chosen, average=average, zero_division=0)
        assert found[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    expected = metrics.accuracy_score(targets, chosen)
    assert found["subset_accuracy"] == pytest.approx(expected, abs=1e-12)


def test_exclusive_scores_go_by_the_highest(draw: np.random.Generator) -> None:
    gold = draw.integers(0, 4, size=300)
    probs = to_probs(draw.normal(size=(300, 4)) + 1.5 * np.eye(4)[gold], "singlelabel")
    found = measure(probs, np.eye(4)[gold], made(4, "singlelabel"))
    chosen = probs.argmax(axis=1)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(gold, chosen, average="macro"))
    assert found["micro_f1"] == pytest.approx(metrics.accuracy_score(gold, chosen))
    assert found["subset_accuracy"] == pytest.approx(metrics.accuracy_score(gold, chosen))


def test_cells_that_are_not_annotated_do_not_count(draw: np.random.Generator) -> None:
    targets = (draw.random((120, 4)) < 0.4).astype(float)
    probs = draw.random((120, 4))
    targets[:60, 1] = np.nan
    targets[:, 3] = np.nan
    found = measure(probs, targets, made(probs.shape[1]))
    chosen = probs >= 0.5
    each = [
        metrics.f1_score(targets[known, c], chosen[known, c])
        for c in range(3)
        for known in [~np.isnan(targets[:, c])]
    ]
    assert found["macro_f1"] == pytest.approx(np.mean(each))
    known = ~np.isnan(targets)
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(targets[known], chosen[known]))
    nobody = measure(probs, np.full((120, 4), np.nan), made(4))
    assert (nobody["macro_f1"], nobody["micro_f1"]) == (0.0, 0.0)


def test_exactly_one_half_is_yes() -> None:
    found = measure(np.array([[0.5]]), np.array([[1.0]]), made(1))
    assert found["macro_f1"] == 1.0


def test_probabilities_keep_large_logits(draw: np.random.Generator) -> None:
    logits = draw.normal(size=(20, 3)) * 10
    assert to_probs(logits, "multilabel") == pytest.approx(
        torch.sigmoid(torch.tensor(logits)).numpy(), abs=1e-12
    )
    assert to_probs(logits + 1000, "singlelabel") == pytest.approx(
        torch.softmax(torch.tensor(logits), dim=1).numpy(), abs=1e-12
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extreme = to_probs(np.array([[-800.0, 0.0, 800.0]]), "multilabel")
    assert extreme.tolist() == [[0.0, 0.5, 1.0]]


@pytest.mark.parametrize("power", ["none", "sqrt", "balanced"])
def test_the_binary_loss_is_that_of_torch(power: str, draw: np.random.Generator) -> None:
    targets = (draw.random((40, 3)) < [0.5, 0.25, 0.1]).astype(float)
    targets[:10, 1] = np.nan
    targets[0, 0] = np.nan
    loss = TargetLoss(made(3), targets, power)
    logits = torch.tensor(draw.normal(size=(40, 3)), dtype=torch.float32)
    gold = torch.tensor(targets, dtype=torch.float32)
    total = 0.0
    for column in range(3):
        known = ~np.isnan(targets[:, column])
        positives = targets[known, column].sum()
        ratio = (known.sum() - positives) / positives
        weight = {"none": 1.0, "sqrt": ratio**0.5, "balanced": ratio}[power]
        total += float(
            torch.nn.functional.binary_cross_entropy_with_logits(
                logits[known, column],
                gold[known, column],
                pos_weight=torch.tensor(weight, dtype=torch.float32),
                reduction="sum",
            )
        )
    assert float(loss.sum_terms(logits, gold)) == pytest.approx(total, rel=1e-5)
    assert loss.count_terms(gold) == 120 - 11


@pytest.mark.parametrize("power", ["none", "balanced"])
def test_the_exclusive_loss_is_that_of_torch(power: str, draw: np.random.Generator) -> None:
    gold = draw.integers(0, 3, size=30)
    targets = np.eye(3)[gold]
    targets[4] = np.nan
    loss = TargetLoss(made(3, "singlelabel"), targets, power)
    counts = np.nansum(targets, axis=0)
    weight = (29 - counts) / counts if power == "balanced" else np.ones(3)
    logits = torch.tensor(draw.normal(size=(30, 3)), dtype=torch.float32)
    known = [row for row in range(30) if row != 4]
    expected = torch.nn.functional.cross_entropy(
        logits[known],
        torch.tensor(gold[known]),
        weight=torch.tensor(weight, dtype=torch.float32),
        reduction="sum",
    )
    found = loss.sum_terms(logits, torch.tensor(targets, dtype=torch.float32))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert loss.count_terms(torch.tensor(targets)) == 29


def test_a_label_without_positives_or_negatives_has_a_finite_weight() -> None:
    targets = np.array([[1.0, 0.0, np.nan], [1.0, 0.0, np.nan]])
    loss = TargetLoss(made(3), targets, "balanced")
    logits = torch.zeros(2, 3, requires_grad=True)
    value = loss.sum_terms(logits, torch.tensor(targets, dtype=torch.float32))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:, 2].tolist() == [0.0, 0.0]


def test_intensities_are_correlated_with_the_expected_level(draw: np.random.Generator) -> None:
    levels = draw.integers(0, 4, size=(80, 2)).astype(float)
    levels[:10, 1] = np.nan
    targets = np.repeat(levels, 3, axis=1) >= np.tile([1, 2, 3], 2)
    targets = np.where(np.isnan(np.repeat(levels, 3, axis=1)), np.nan, targets)
    probs = np.clip(np.nan_to_num(targets) * 0.4 + draw.random((80, 6)) * 0.6, 0, 1)
    expected = probs.reshape(80, 2, 3).sum(axis=2)
    each = [
        np.corrcoef(expected[known, label], levels[known, label])[0, 1]
        for label in range(2)
        for known in [~np.isnan(levels[:, label])]
    ]
    found = measure(probs, targets, made(6, "intensity", 3))
    assert found["pearson_r"] == pytest.approx(np.mean(each), abs=1e-12)
    constant = measure(np.full((80, 6), 0.5), targets, made(6, "intensity", 3))
    assert constant["pearson_r"] == 0.0
