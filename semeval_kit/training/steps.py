"""Steps of an optimizer: on which device, how long each is, what a checkpoint keeps of them.

And two levers around them: steps against the loss on the embeddings, and averaged weights.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from semeval_kit.errors import KitError
from semeval_kit.training.head import Classifier
from semeval_kit.training.machine import find_device_type, finish_step_first
from semeval_kit.training.recipe import Recipe

Event = dict[str, Any]
Ready = TypeVar("Ready")
Taken = TypeVar("Taken")

Weights = dict[str, Tensor]


def make_accelerator(precision: str, fold: int) -> Accelerator:
    """What places the tensors of a fold and binds its processes together.

    Raises:
        KitError: several processes were started that would each train alone.
    """
    mixed = {"fp32": "no"}.get(precision, precision)
    # Without cpu=True several processes on a CPU would each train alone, unasked and untold.
    on_cpu = find_device_type() == "cpu"
    accelerator = Accelerator(mixed_precision=mixed, cpu=on_cpu)
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if asked != accelerator.num_processes:
        raise KitError(
            f"fold {fold}: {asked} processes were started, but each would train alone. "
            "Use --processes 1, or set up `accelerate config` for this machine."
        )
    return accelerator


def draw_seed(recipe: Recipe, fold: int, *parts: object) -> int:
    """The seed of something drawn at random, which depends on what it is for and on nothing else.

    Args:
        recipe: its seed.
        fold: its number.
        parts: what is drawn, and of which epoch and step.
    """
    text = ":".join(map(str, (recipe.seed, fold, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 2**31


def count_steps(n_rows: int, recipe: Recipe, accelerator: Accelerator) -> int:
    """The optimizer's steps of an epoch over so many rows, the same on every process."""
    micro_batches = math.ceil(n_rows / recipe.batch_size)
    per_process = math.ceil(micro_batches / int(accelerator.num_processes))
    return math.ceil(per_process / recipe.accumulation)


def list_learning(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that learn, by name."""
    return ((name, p) for name, p in network.named_parameters() if p.requires_grad)


def list_learning_encoder(classifier: Classifier) -> Iterator[tuple[str, nn.Parameter]]:
    """Those of its encoder among the parameters of a classifier that learn, by name."""
    inside = {id(p) for p in classifier.backbone.parameters()}
    return ((name, p) for name, p in list_learning(classifier) if id(p) in inside)


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, as they are now, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in list_learning(network)}


@torch.no_grad()
def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set parameters by name."""
    named = dict(network.named_parameters())
    for name, value in weights.items():
        named[name].copy_(value.to(named[name].device))


def share_batches(batches: list[list[int]], accelerator: Accelerator) -> list[list[int]]:
    """The batches of this process: all have as many, so that none waits for another in vain."""
    world = accelerator.num_processes
    return (batches + batches[: -len(batches) % world])[accelerator.process_index :: world]


def look_seconds(device: torch.device) -> float:
    """How long no loss is looked at: a CPU need not be waited for."""
    return 0.0 if device.type == "cpu" else 0.5


class Pace:
    """When the steps of an epoch are looked at, and when a checkpoint is due within it.

    Attributes:
        steps: of an epoch.
        saved_at: when the last checkpoint was written, by the monotonic clock.
    """

    def __init__(self, accelerator: Accelerator, recipe: Recipe, steps: int) -> None:
        """Go by the device, the recipe's `checkpoint_minutes`, and the steps of an epoch."""
        self.steps, self.saved_at = steps, time.monotonic()
        self._look_seconds = look_seconds(accelerator.device)
        self._save_seconds = recipe.checkpoint_minutes * 60
        # Of several processes each would end after another step: they leave at once.
        self._is_alone = accelerator.num_processes == 1

    def take(
        self,
        ready: Iterable[Ready],
        first: int,
        take: Callable[[Ready, int], Taken],
        look: Callable[[list[Taken], int], None],
        save: Callable[[int], None],
    ) -> None:
        """Take the steps of an epoch; after the one in which a signal comes, save and leave.

        Args:
            ready: what each step is taken with.
            first: how many steps of the epoch are done.
            take: a step by its number, from 0.
            look: is given the steps that nobody has looked at, and how many are done.
            save: is told how many are done.
        """
        unread: list[Taken] = []
        looked = time.monotonic()
        leaving = finish_step_first() if self._is_alone else nullcontext(lambda: False)
        with leaving as is_told_to_leave:
            for done, each in enumerate(ready, start=first + 1):
                unread.append(take(each, done - 1))
                is_last, told, now = done == self.steps, is_told_to_leave(), time.monotonic()
                is_due = 0 < self._save_seconds <= now - self.saved_at
                if now - looked < self._look_seconds and not (is_last or told or is_due):
                    continue
                look(unread, done)
                unread, looked = [], now
                if told or (is_due and not is_last):
                    save(done)
                if told:
                    break


@dataclass(frozen=True)
class Workplace:
    """Where a fold is trained.

    Attributes:
        accelerator: of the fold.
        stamp: what must be the same for half-done work to be continued exactly.
        emit: is told how far the work is.
    """

    accelerator: Accelerator
    stamp: Event
    emit: Callable[[Event], None]


class Steps:
    """AdamW with a linear schedule over a model that `accelerate` has prepared.

    Attributes:
        model: the prepared model, to be called in training.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        groups: Sequence[dict[str, Any]],
        recipe: Recipe,
        total: int,
    ) -> None:
        """Prepare.

        Args:
            accelerator: of the fold.
            model: whose parameters learn.
            groups: of parameters, each with its peak learning rate and weight decay.
            recipe: warm-up and the largest norm of a gradient.
            total: steps until the learning rate is 0.
        """
        self.accelerator, self.max_norm = accelerator, recipe.max_grad_norm
        fused = accelerator.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(list(groups), fused=fused)
        warmup = round(recipe.warmup * total) if recipe.warmup < 1 else round(recipe.warmup)
        self._begin_schedule = partial(
            get_linear_schedule_with_warmup, self.optimizer, warmup, max(total, 1)
        )
        # Before `prepare`, which keeps the optimizer's step: the schedule wraps it to see it taken.
        self._schedule = self._begin_schedule()
        self.model, self._prepared = accelerator.prepare(model, self.optimizer)

    def take(self) -> None:
        """One step along the gradients that were gathered, which are then forgotten."""
        if self.max_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.max_norm)
        self._prepared.step()
        # Also where fp16 overflowed and the weights stayed as they were: a fused optimizer does not
        # say so unless it is waited for.
        self._schedule.step()
        self._prepared.zero_grad()

    @property
    def lr(self) -> float:
        """The learning rate of the first group."""
        return float(self._schedule.get_last_lr()[0])

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's moments, on the CPU, by the number of their parameter and their name."""
        return {
            f"{index}.{name}": torch.as_tensor(value).cpu().contiguous()
            for index, moments in self.optimizer.state_dict()["state"].items()
            for name, value in moments.items()
        }

    def state(self) -> Event:
        """What else `restore` needs."""
        scaler = self.accelerator.scaler  # of fp16 on a GPU
        beside = {} if scaler is None else {"scaler": scaler.state_dict()}
        return {"steps": self._schedule.last_epoch, **beside}

    def restore(self, tensors: dict[str, Tensor], state: Event) -> None:
        """Go back to where `tensors` and `state` were taken."""
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self._schedule = self._begin_schedule(last_epoch=state["steps"] - 1)


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
    """What is kept of the weights: a mean over all steps, fading, or over the last epochs.

    Or a point between that and the encoder as it came, which often does better on rows that were
    collected otherwise than the training rows (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903).

    Attributes:
        weights: the mean so far; empty before anything was added.
        count: how many weights are in it.
    """

    def __init__(
        self,
        decay: float = 0.0,
        last_epochs: int = 0,
        *,
        interpolation: float = 1.0,
        start: Iterable[tuple[str, Tensor]] = (),
    ) -> None:
        """Choose which mean, and how far what is kept lies from the start.

        Args:
            decay: of a fading mean, per step.
            last_epochs: whose mean is taken.
            interpolation: the share of what was learnt, 1 for all of it; the rest is the start.
            start: the weights that have one, before anything is learnt.
        """
        self.decay, self.last_epochs, self.interpolation = decay, last_epochs, interpolation
        self.weights: Weights = {}
        self.count = 0
        self._start: Weights = {}
        if interpolation < 1:
            self._start = {name: value.detach().clone() for name, value in start}

    @property
    def is_idle(self) -> bool:
        """Whether what is to be kept is the weights as they are."""
        return not self.count and not self._start

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
        """Let what is to be kept stand in for the weights, which may be as it is."""
        replaced = self.weights.keys() | self._start.keys()
        before = {name: parameters[name].detach().clone() for name in replaced}
        for name, value in self.weights.items():
            parameters[name].copy_(value)
        for name, value in self._start.items():
            parameters[name].lerp_(value, 1 - self.interpolation)
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
