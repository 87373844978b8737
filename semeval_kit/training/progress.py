"""How far a fold has come: its epochs and what validation rows say of them, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semeval_kit.training.head import Targets
from semeval_kit.training.recipe import Recipe

Array = NDArray[np.float64]
Event = dict[str, Any]
Weights = dict[str, Tensor]


@dataclass
class RunningEpoch:
    """What the steps of an epoch have added up so far.

    Attributes:
        step: steps done.
        loss: sum of the loss's terms, per target.
        terms: their number, per target.
        rows: rows seen, by all processes.
        seconds: spent.
    """

    step: int = 0
    loss: list[float] = field(default_factory=list)
    terms: list[int] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0

    def add_step(self, loss: list[float], terms: list[int], rows: int) -> None:
        """Note a finished step."""
        self.step += 1
        self.loss = [a + b for a, b in zip(self.loss or [0.0] * len(loss), loss, strict=True)]
        self.terms = [a + b for a, b in zip(self.terms or [0] * len(terms), terms, strict=True)]
        self.rows += rows

    @property
    def mean_loss(self) -> float:
        """Mean loss of a term, added up over the targets."""
        return sum(s / max(n, 1) for s, n in zip(self.loss, self.terms, strict=True))


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
        """Note a finished epoch, and its weights if they are the best so far.

        Args:
            row: its history, with "epoch" and the figures that `select_by` may name.
            recipe: the recipe.
            metric: what `score` in the recipe stands for.
            weights: gives the trainable weights as they are now.
        """
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


def _goodness(row: Event, name: str, metric: str) -> float:
    key = {"score": metric, "last": "epoch", "loss": "val_loss"}.get(name, name)
    value = float(row[key])
    return -value if key == "val_loss" else value


def measure(probs: Array, gold: Array, targets: Targets) -> dict[str, float]:
    """Score probabilities at 0.5 (or by the highest, where columns share one).

    Args:
        probs: `(n_examples, n_targets)`.
        gold: `(n_examples, n_targets)`, NaN where not annotated.
        targets: what the columns are.

    Returns:
        macro_f1, micro_f1, weighted_f1 (F1 by support) and subset_accuracy (rows all right); for
        intensities also pearson_r, the mean over labels of r between level and expected level.
    """
    annotated = ~np.isnan(gold)
    positive = np.nan_to_num(gold) > 0.5
    answers = probs >= 0.5
    for part, columns in zip(targets.parts, targets.slices, strict=True):
        if part.shares:
            highest = probs[:, columns].argmax(axis=1)
            answers[:, columns] = np.eye(len(part.names), dtype=bool)[highest]
    answers &= annotated
    true_positives = (answers & positive).sum(axis=0).astype(float)
    marked = answers.sum(axis=0) + positive.sum(axis=0)
    f1 = np.divide(2 * true_positives, marked, out=np.zeros_like(true_positives), where=marked > 0)
    used = annotated.any(axis=0)
    support = positive.sum(axis=0)
    scores = {
        "macro_f1": float(f1[used].mean()) if used.any() else 0.0,
        "micro_f1": float(2 * true_positives.sum() / max(marked.sum(), 1)),
        "weighted_f1": float((f1 * support).sum() / max(support.sum(), 1)),
        "subset_accuracy": float((answers == positive).all(axis=1).mean()),
    }
    for part, columns in zip(targets.parts, targets.slices, strict=True):
        if part.n_levels > 1:
            scores["pearson_r"] = _mean_correlation(
                probs[:, columns], gold[:, columns], part.n_levels
            )
    return scores


def _mean_correlation(probs: Array, gold: Array, n_levels: int) -> float:
    """Mean over labels of r between gold levels and expected levels; constant columns give 0."""
    each = []
    for first in range(0, probs.shape[1], n_levels):
        levels = gold[:, first : first + n_levels].sum(axis=1)
        expected = probs[:, first : first + n_levels].sum(axis=1)
        known = ~np.isnan(levels)
        if known.sum() > 1:
            varied = np.ptp(levels[known]) > 0 and np.ptp(expected[known]) > 0
            each.append(np.corrcoef(levels[known], expected[known])[0, 1] if varied else 0.0)
    return float(np.mean(each)) if each else 0.0
