"""Levers of the training loop: steps against the loss on the embeddings, and averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Adversary:
    """Fast gradient method on the word embeddings (Miyato et al. 2017, arXiv 1605.07725).

    The vectors of a text are moved by `epsilon` in the direction in which its loss grows, all of
    them together, and the model learns from the moved text, too. What is moved is what the
    embedding layer gives, so that it works with frozen tables.
    """

    def __init__(self, embeddings: nn.Module, epsilon: float) -> None:
        """Name the layer, and how far the vectors of a text are moved, taken as one vector."""
        self.embeddings, self.epsilon = embeddings, epsilon
        self.vectors: Tensor | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Keep the vectors of the forward pass inside, so that the backward pass gives a slope."""

        def keep(_: Any, __: Any, output: Tensor) -> Tensor:
            vectors = output if output.requires_grad else output.detach().requires_grad_()
            vectors.retain_grad()
            self.vectors = vectors
            return vectors

        with _hooked(self.embeddings, keep):
            yield

    @contextmanager
    def attack(self) -> Iterator[None]:
        """Move the vectors of the forward pass inside by the slope of the one before."""
        assert self.vectors is not None
        assert self.vectors.grad is not None
        slope, self.vectors = self.vectors.grad, None
        length = slope.flatten(1).norm(dim=1).clamp(min=1e-12)
        step = self.epsilon * slope / length[:, None, None]
        with _hooked(self.embeddings, lambda _, __, output: output + step.to(output)):
            yield


class WeightAverage:
    """A mean of the weights: over all steps, fading, or over the last epochs.

    Attributes:
        weights: the mean so far; empty before anything was added.
        count: how many weights are in it.
    """

    def __init__(self, decay: float = 0.0, last_epochs: int = 0) -> None:
        """Choose which: `decay` per step, or so many last epochs."""
        self.decay, self.last_epochs = decay, last_epochs
        self.weights: Weights = {}
        self.count = 0

    def add_step(self, named: Iterator[tuple[str, Tensor]]) -> None:
        """Let the weights after a step flow into a fading mean.

        The decay of the first steps is smaller, (1 + n) / (10 + n), so that the mean does not
        remember the weights that training began with.
        """
        if self.decay:
            fade = min(self.decay, (1 + self.count) / (10 + self.count))
            self._add(named, 1 - fade)

    def add_epoch(self, named: Iterator[tuple[str, Tensor]], epochs_left: int) -> None:
        """Take the weights after an epoch into a plain mean, if it is one of the last."""
        if self.last_epochs > epochs_left:
            self._add(named, 1 / (self.count + 1))

    @torch.no_grad()
    def _add(self, named: Iterator[tuple[str, Tensor]], share: float) -> None:
        for name, value in named:
            if name in self.weights:
                self.weights[name].lerp_(value.detach().to(self.weights[name]), share)
            else:
                self.weights[name] = value.detach().clone()
        self.count += 1

    @contextmanager
    @torch.no_grad()
    def in_place_of(self, parameters: dict[str, Tensor]) -> Iterator[None]:
        """Let the mean stand in for the weights; without any mean yet, nothing happens."""
        before = {name: parameters[name].detach().clone() for name in self.weights}
        for name, value in self.weights.items():
            parameters[name].copy_(value)
        try:
            yield
        finally:
            for name, value in before.items():
                parameters[name].copy_(value)


@contextmanager
def _hooked(layer: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
