"""How far a fold has come: its history, its best epoch, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from semeval_kit.training.recipe import TrainConfig

Event = dict[str, Any]
Weights = dict[str, Tensor]


@dataclass
class Progress:
    """What changes while a fold trains.

    Attributes:
        epoch: the last one that is finished; 0 before the first.
        history: a row per epoch, with its losses and scores.
        best_epoch: the one that is kept; 0 before the first.
        best_value: its figure by `select_by`, higher is better.
        best_weights: the trainable weights after it.
    """

    epoch: int = 0
    history: list[Event] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = -math.inf
    best_weights: Weights | None = None

    def add_epoch(
        self, row: Event, config: TrainConfig, metric: str, weights: Callable[[], Weights]
    ) -> None:
        """Note a finished epoch, and its weights if they are the best so far.

        Args:
            row: its history, with "epoch" and the figures that `select_by` may name.
            config: the recipe.
            metric: what `score` in the recipe stands for.
            weights: gives the trainable weights as they are now.
        """
        self.epoch = int(row["epoch"])
        self.history.append(row)
        value = _goodness(row, config.select_by, metric)
        if config.select_by == "last" or value > self.best_value:
            self.best_epoch, self.best_value = self.epoch, value
            self.best_weights = weights()

    def is_out_of_patience(self, config: TrainConfig, metric: str) -> bool:
        """Tell whether `patience` epochs have passed since the best by `stop_by`."""
        if not config.patience or not self.history:
            return False
        values = [_goodness(row, config.stop_by, metric) for row in self.history]
        return len(values) - 1 - int(np.argmax(values)) >= config.patience


def _goodness(row: Event, name: str, metric: str) -> float:
    key = {"score": metric, "last": "epoch", "loss": "val_loss"}.get(name, name)
    value = float(row[key])
    return -value if key == "val_loss" else value
