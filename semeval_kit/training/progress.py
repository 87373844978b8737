"""How far a fold has come: its epochs and what validation rows say of them, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semeval_kit.submission.metrics import correlation, spearman
from semeval_kit.training.recipe import Recipe
from semeval_kit.training.targets import Target, Targets

Array = NDArray[np.float64]
Event = dict[str, Any]
Weights = dict[str, Tensor]
_BETTER_LOW = ("val_loss", "rmse", "mae")


@dataclass
class RunningEpoch:
    """What the steps of an epoch have added up so far.

    Attributes:
        sums: of the loss's terms, per target.
        rows: rows seen, by all processes.
    """

    step: int = 0
    sums: list[float] = field(default_factory=list)
    terms: list[int] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0

    def add_step(self, sums: list[float], terms: list[int], rows: int) -> None:
        """Note a finished step."""
        self.step += 1
        self.sums = [a + b for a, b in zip(self.sums or [0.0] * len(sums), sums, strict=True)]
        self.terms = [a + b for a, b in zip(self.terms or [0] * len(terms), terms, strict=True)]
        self.rows += rows


@dataclass
class Progress:
    """What changes while a fold trains.

    Attributes:
        epoch: the last one that is finished; 0 before the first.
        history: a row per epoch, with its losses and scores.
        best_epoch: the one that is kept; 0 before the first.
        best_value: its figure by `select_by`, higher is better.
        best_weights: the trainable weights after it.
        running: the epoch that has begun.
    """

    epoch: int = 0
    history: list[Event] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = -math.inf
    best_weights: Weights | None = None
    running: RunningEpoch = field(default_factory=RunningEpoch)

    def add_epoch(
        self, row: Event, recipe: Recipe, metric: str, weights: Callable[[], Weights]
    ) -> None:
        """Note a finished epoch, and its weights if they are the best so far."""
        self.epoch, self.running = int(row["epoch"]), RunningEpoch()
        self.history.append(row)
        value = _goodness(row, recipe.select_by, metric)
        if recipe.select_by == "last" or value > self.best_value:
            self.best_epoch, self.best_value = self.epoch, value
            self.best_weights = weights()

    def is_out_of_patience(self, recipe: Recipe, metric: str) -> bool:
        """Tell whether `patience` epochs have passed since the best by `stop_by`."""
        if not recipe.patience or not self.history:
            return False
        values = [_goodness(row, recipe.stop_by, metric) for row in self.history]
        return len(values) - 1 - int(np.argmax(values)) >= recipe.patience


def measure(probs: Array, gold: Array, targets: Targets) -> dict[str, float]:
    """Score probabilities at 0.5 (or by the highest, where columns share one).

    Args:
        probs: `(n_examples, n_predicted)`.
        gold: `(n_examples, n_columns)`, NaN where not annotated; auxiliary columns are not read.
        targets: what the columns are.

    Returns:
        Where answers are yes or no: macro_f1, micro_f1, weighted_f1 (F1 by support) and
        subset_accuracy (rows all right). For intensities also pearson_r, the mean over labels of r
        between level and expected level. For numbers, in shares of their range: spearman and
        pearson (means over columns), rmse and mae.
    """
    parts = list(zip(targets.predicted, targets.slices, strict=False))
    scores: dict[str, float] = {}
    answers = [(part, columns) for part, columns in parts if not part.is_number]
    if answers:
        scores |= _measure_answers(
            np.concatenate([_answer(part, probs[:, columns]) for part, columns in answers], axis=1),
            np.concatenate([gold[:, columns] for _, columns in answers], axis=1),
        )
    for part, columns in answers:
        if part.n_levels > 1:
            # Levels of cumulative events; of probabilities, expected ones.
            levels = [
                values[:, columns].reshape(len(values), -1, part.n_levels).sum(axis=2)
                for values in (probs, gold)
            ]
            scores["pearson_r"] = _mean_over_columns(correlation, *levels)
    numbers = [columns for part, columns in parts if part.is_number]
    if numbers:
        predicted = np.concatenate([probs[:, columns] for columns in numbers], axis=1)
        expected = np.concatenate([gold[:, columns] for columns in numbers], axis=1)
        errors = (predicted - expected)[~np.isnan(expected)]
        scores |= {
            "spearman": _mean_over_columns(spearman, predicted, expected),
            "pearson": _mean_over_columns(correlation, predicted, expected),
            "rmse": float(np.sqrt(np.square(errors).mean())) if len(errors) else 0.0,
            "mae": float(np.abs(errors).mean()) if len(errors) else 0.0,
        }
    return scores


def _goodness(row: Event, name: str, metric: str) -> float:
    key = {"score": metric, "last": "epoch", "loss": "val_loss"}.get(name, name)
    value = float(row[key])
    return -value if key in _BETTER_LOW else value


def _answer(part: Target, probs: Array) -> NDArray[np.bool_]:
    if part.shares:
        return np.asarray(np.eye(len(part.names), dtype=bool)[probs.argmax(axis=1)])
    return np.asarray(probs >= 0.5)


def _measure_answers(answers: NDArray[np.bool_], gold: Array) -> dict[str, float]:
    annotated = ~np.isnan(gold)
    positive = np.nan_to_num(gold) > 0.5
    answers = answers & annotated
    true_positives = (answers & positive).sum(axis=0).astype(float)
    marked = answers.sum(axis=0) + positive.sum(axis=0)
    f1 = np.divide(2 * true_positives, marked, out=np.zeros_like(true_positives), where=marked > 0)
    used = annotated.any(axis=0)
    support = positive.sum(axis=0)
    return {
        "macro_f1": float(f1[used].mean()) if used.any() else 0.0,
        "micro_f1": float(2 * true_positives.sum() / max(marked.sum(), 1)),
        "weighted_f1": float((f1 * support).sum() / max(support.sum(), 1)),
        "subset_accuracy": float((answers == positive).all(axis=1).mean()),
    }


def _mean_over_columns(agreement: Callable[..., float], predicted: Array, expected: Array) -> float:
    """Mean of a measure of agreement over columns with two annotated rows; constants give 0."""
    each = []
    for column in range(expected.shape[1]):
        rows = ~np.isnan(expected[:, column])
        if rows.sum() > 1:
            each.append(
                float(np.nan_to_num(agreement(expected[rows, column], predicted[rows, column])))
            )
    return float(np.mean(each)) if each else 0.0
