"""Synthetic scores whose truth is known: the draws of the threshold simulation, made small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

PREVALENCES = np.array([16, 62, 31, 34, 31]) / 115

Draw = Callable[..., tuple[np.ndarray, np.ndarray]]


def draw_noisy(n: int, seed: int, prevalences: np.ndarray = PREVALENCES):
    """Label noise: 25% of positives and 6% of negatives flipped, saturating scores."""
    rng = np.random.default_rng(seed)
    shape = (n, len(prevalences))
    state = rng.random(shape) < prevalences
    flipped = np.where(state, rng.random(shape) < 0.25, rng.random(shape) < 0.06)
    z = rng.normal(size=shape) + np.where(state, 1.0, -1.0)
    probs = 1 / (1 + np.exp(-3.0 * (z + 0.5 * np.log(prevalences / (1 - prevalences)))))
    return probs, (state ^ flipped).astype(float)


def draw_miscalibrated(n: int, seed: int, prevalences: np.ndarray = PREVALENCES):
    """Log-odds distorted by slope 1.6 and shift -0.6."""
    rng = np.random.default_rng(seed)
    shape = (n, len(prevalences))
    truth = rng.random(shape) < prevalences
    gap = 1.6
    z = rng.normal(size=shape) + np.where(truth, gap / 2, -gap / 2)
    odds = gap * z + np.log(prevalences / (1 - prevalences))
    return 1 / (1 + np.exp(-(1.6 * odds - 0.6))), truth.astype(float)


@pytest.fixture
def noisy() -> Draw:
    return draw_noisy


@pytest.fixture
def miscalibrated() -> Draw:
    return draw_miscalibrated
