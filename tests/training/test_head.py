"""What a head gives: loss, probabilities and scores of an epoch, against scikit-learn and torch."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from semeval_kit.task.codec import target_names
from semeval_kit.task.task import load_task
from semeval_kit.training.head import TargetLoss
from semeval_kit.training.progress import measure
from semeval_kit.training.targets import Target, Targets, encode_gold, parse_targets, read_targets


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


SEVERAL = Targets(
    (
        Target("multilabel", ("a", "b")),
        Target("singlelabel", ("x", "y", "z"), weight=2.0),
        Target("regression", ("warm",)),
        Target("regression", ("free",), bounded=False, weight=0.5),
        Target("distribution", ("p", "q")),
        Target("intensity", ("a>=1", "a>=2"), n_levels=2, auxiliary=True),
    )
)


def several(draw: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and gold of every kind, some of it not annotated."""
    gold = np.concatenate(
        [
            draw.integers(0, 2, size=(12, 2)),
            np.eye(3)[draw.integers(0, 3, size=12)],
            draw.random((12, 1)),
            draw.normal(size=(12, 1)) * 3,
            np.repeat(draw.random((12, 1)), 2, axis=1),
            draw.integers(0, 2, size=(12, 2)),
        ],
        axis=1,
    ).astype(float)
    gold[:, 8] = 1 - gold[:, 7]
    gold[:3, 1] = gold[3:5, 2:5] = gold[5, 5] = gold[6:8, 7:9] = gold[:10, 9:] = np.nan
    return torch.tensor(draw.normal(size=(12, 11))), torch.tensor(gold)


def test_every_kind_has_its_loss_and_its_mean_over_what_is_annotated(
    draw: np.random.Generator,
) -> None:
    logits, gold = several(draw)
    loss = TargetLoss(SEVERAL, gold.numpy(), "none")
    terms = loss.count_terms(gold)
    assert terms.tolist() == [24 - 3, 10, 11, 12, 10, 4]
    binary = torch.nn.functional.binary_cross_entropy_with_logits
    cross = torch.nn.functional.cross_entropy
    known = ~torch.isnan(gold)
    rows, shares = known[:, 2], known[:, 7]
    expected = [
        binary(logits[:, :2][known[:, :2]], gold[:, :2][known[:, :2]]),
        cross(logits[rows, 2:5], gold[rows, 2:5]),
        binary(logits[:, 5][known[:, 5]], gold[:, 5][known[:, 5]]),
        (logits[:, 6] - gold[:, 6]).square().mean(),
        cross(logits[shares, 7:9], gold[shares, 7:9]),
        binary(logits[10:, 9:], gold[10:, 9:]),
    ]
    means = (loss.sum_terms(logits, gold) / terms).tolist()
    assert means == pytest.approx([float(value) for value in expected], rel=1e-6)
    total = float(loss.total(loss.sum_terms(logits, gold), terms))
    weights = [1, 2, 1, 0.5, 1, 1]
    assert total == pytest.approx(sum(w * float(v) for w, v in zip(weights, expected, strict=True)))


def test_what_is_auxiliary_is_learnt_and_not_predicted(draw: np.random.Generator) -> None:
    logits, gold = several(draw)
    probs = SEVERAL.to_probs(logits)
    assert probs.shape == (12, 9)
    assert SEVERAL.names == ("a", "b", "x", "y", "z", "warm", "free", "p", "q")
    assert SEVERAL.columns == (*SEVERAL.names, "a>=1", "a>=2")
    assert probs[:, 2:5].sum(dim=1).tolist() == pytest.approx([1.0] * 12)
    assert torch.equal(probs[:, 6], logits[:, 6])
    assert torch.allclose(probs[:, 5], logits[:, 5].sigmoid())
    assert not SEVERAL.exclusive
    assert not SEVERAL.fits_pipeline
    logits.requires_grad_()
    loss = TargetLoss(SEVERAL, gold.numpy(), "none")
    loss.total(loss.sum_terms(logits, gold), loss.count_terms(gold)).backward()
    assert logits.grad[10:, 9:].abs().min() > 0
    assert logits.grad[:10, 9:].abs().max() == 0
    assert parse_targets(json.loads(json.dumps({"targets": list(map(asdict, SEVERAL.parts))}))) == (
        SEVERAL
    )


def test_numbers_are_measured_by_correlation_and_error(draw: np.random.Generator) -> None:
    targets = Targets((Target("regression", ("one", "two")), Target("multilabel", ("yes",))))
    gold = np.concatenate([draw.random((50, 2)), draw.integers(0, 2, (50, 1))], axis=1)
    gold[:5, 1] = np.nan
    probs = np.clip(np.nan_to_num(gold) + draw.normal(size=(50, 3)) * 0.2, 0, 1)
    found = measure(probs, gold, targets)
    pairs = [(probs[:, 0], gold[:, 0]), (probs[5:, 1], gold[5:, 1])]
    assert found["spearman"] == pytest.approx(
        np.mean([stats.spearmanr(*pair).statistic for pair in pairs]), abs=1e-12
    )
    assert found["pearson"] == pytest.approx(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))
    errors = np.concatenate([a - b for a, b in pairs])
    assert found["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert found["mae"] == pytest.approx(np.abs(errors).mean())
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(gold[:, 2], probs[:, 2] >= 0.5))
    numbers = Targets(targets.parts[:1])
    assert set(measure(probs[:, :2], gold[:, :2], numbers)) == {
        "spearman",
        "pearson",
        "rmse",
        "mae",
    }


TASK = """
name = "made"
title = "made up"
kind = "multilabel"
train_languages = ["eng"]
predict_languages = ["eng"]
[labels]
default = ["joy", "fear"]
[targets.level]
kind = "intensity"
labels = ["joy", "fear"]
columns = ["joy", "fear"]
max_intensity = 2
auxiliary = true
weight = 0.5
file = "levels.csv"
[targets.warmth]
kind = "regression"
range = [1, 5]
[data.files]
train = ["train.csv"]
test = ["test.csv"]
[submission]
label_layout = "columns"
[scoring]
metrics = ["macro_f1"]
languages = ["eng"]
"""


def test_the_targets_of_a_task_are_those_of_the_head(tmp_path: Path) -> None:
    """The auxiliary ones go to the end, and those before them are named as without them."""
    (tmp_path / "made.toml").write_text(TASK, encoding="utf-8")
    task = load_task(tmp_path / "made.toml")
    targets = read_targets(task)
    assert targets.names == target_names(task.without_auxiliary()) == ("joy", "fear", "warmth")
    assert [part.kind for part in targets.parts] == ["multilabel", "regression", "intensity"]
    assert targets.parts[2].weight == 0.5
    assert len(targets.columns) == 7
    gold = encode_gold(task, np.array([[1, 0, 2, np.nan, 4.0]]))
    np.testing.assert_array_equal(gold, [[1, 0, 0.75, 1, 1, np.nan, np.nan]])
