"""The training loop of one fold, on one or many processes, resumable within an epoch.

Data order is seeded from (seed, fold, epoch) and dropout from (seed, fold, epoch, step), so a step
does not depend on how the process came to it: resuming needs weights, optimizer state and the best
epoch, no more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from numpy.typing import NDArray
from torch import Tensor

from semeval_kit.errors import KitError
from semeval_kit.training.batches import Rows, pad_batch, plain_batches, training_batches
from semeval_kit.training.checkpoint import Checkpoint, load_newest, save_checkpoint
from semeval_kit.training.encoder import load_classifier, parameter_groups
from semeval_kit.training.head import TargetLoss
from semeval_kit.training.leaving import finish_step_first
from semeval_kit.training.levers import Adversary, WeightAverage
from semeval_kit.training.machine import peak_memory_mb
from semeval_kit.training.progress import Progress, RunningEpoch, measure
from semeval_kit.training.recipe import Recipe
from semeval_kit.training.steps import Steps, draw_seed, share_batches
from semeval_kit.training.targets import LossOptions, Targets

Array = NDArray[np.float64]
Event = dict[str, Any]


class FoldTrainer:
    """Trains one fold: `fit`, then `predict` with the best weights."""

    def __init__(
        self,
        recipe: Recipe,
        targets: Targets,
        fold: int,
        pad_id: int,
        *,
        accelerator: Accelerator,
        emit: Callable[[Event], None],
        adapted: Path | None = None,
    ) -> None:
        """Build the model; every process of the fold does so alike.

        Args:
            recipe: how to train.
            targets: what the columns are.
            fold: its number.
            pad_id: the token that fills up a batch.
            accelerator: of the fold.
            emit: is told of every step and epoch.
            adapted: a folder with the encoder to start from, where it is not the recipe's own.
        """
        self.recipe, self.targets, self.fold, self.pad_id = recipe, targets, fold, pad_id
        self.accelerator, self.emit = accelerator, emit
        set_seed(draw_seed(recipe, fold, "head"))
        start = recipe
        if adapted is not None:
            start = recipe.model_copy(update={"encoder": str(adapted), "revision": ""})
        self.classifier = load_classifier(start, targets)

    def fit(
        self,
        train: Rows,
        valid: Rows,
        checkpoint_dir: Path,
        stamp: Event,
        metric: str,
        keep: Callable[[list[Event]], None] = lambda history: None,
    ) -> Progress:
        """Train until the last epoch or until patience runs out.

        Args:
            train: rows to learn from.
            valid: rows to choose the epoch by.
            checkpoint_dir: where the resumable state is kept.
            stamp: what must be the same for a checkpoint to be continued exactly.
            metric: what `score` in the recipe stands for.
            keep: is given the history after each epoch, in the main process.

        Returns:
            The history and the best epoch; the classifier holds the best weights.

        Raises:
            KitError: the loss is not a number.
        """
        recipe, accelerator = self.recipe, self.accelerator
        micro_batches = math.ceil(len(train.names) / recipe.batch_size)
        per_process = math.ceil(micro_batches / accelerator.num_processes)
        self.steps_per_epoch = math.ceil(per_process / recipe.accumulation)
        total = self.steps_per_epoch * recipe.epochs
        groups = parameter_groups(self.classifier, recipe)
        self.steps = Steps(accelerator, self.classifier, groups, recipe, total)
        self.model = self.steps.model
        options = LossOptions(recipe.label_smoothing, recipe.asymmetric)
        weighing = (self.targets, train.targets, recipe.positive_weight)
        self.loss = TargetLoss(*weighing, options, train.blocks)
        self.valid_loss = TargetLoss(*weighing, blocks=train.blocks)
        self.adversary = Adversary(self.classifier.network.get_input_embeddings(), recipe.fgm)
        self.average = WeightAverage(recipe.ema, recipe.average_epochs)
        self.checkpoint_dir, self.stamp = checkpoint_dir, stamp
        progress = self.progress = self._resume()
        self.saved_at = time.monotonic()
        while progress.epoch < recipe.epochs and not progress.is_out_of_patience(recipe, metric):
            row = self._train_epoch(progress.epoch + 1, train)
            self.average.add_epoch(self._trained(), recipe.epochs - progress.epoch - 1)
            with self.average.in_place_of(dict(self._trained())):
                row |= self._validate(valid)
                progress.add_epoch(row, recipe, metric, self._trainable)
            self.emit({"event": "epoch", **row})
            if accelerator.is_main_process:
                keep(progress.history)
            if progress.epoch < recipe.epochs and not progress.is_out_of_patience(recipe, metric):
                with finish_step_first():
                    self._save()
            accelerator.wait_for_everyone()
        if progress.best_weights is not None:
            self._load_trainable(progress.best_weights)
        return progress

    def predict(self, rows: Rows) -> Array:
        """Return probabilities `(n_examples, n_targets)`, computed in fp32."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        return np.asarray(self.targets.to_probs(self._forward(model, rows)).numpy())

    def _train_epoch(self, epoch: int, train: Rows) -> Event:
        recipe, accelerator, running = self.recipe, self.accelerator, self.progress.running
        order = training_batches(
            train.tokens.lengths, recipe.batch_size, f"{recipe.seed}:{self.fold}:{epoch}"
        )
        world, rank = accelerator.num_processes, accelerator.process_index
        share = share_batches(order, accelerator)
        self.model.train()
        started = time.monotonic() - running.seconds
        # Of several processes each would end after another step: they leave at once.
        leaving = finish_step_first() if world == 1 else nullcontext(lambda: False)
        with leaving as is_told_to_leave:
            while running.step < self.steps_per_epoch:
                first = running.step * recipe.accumulation
                group = share[first : first + recipe.accumulation]
                seed = draw_seed(recipe, self.fold, "step", epoch, running.step)
                torch.manual_seed(seed + rank)
                running.add_step(*self._step(group, train), sum(map(len, group)) * world)
                running.seconds = time.monotonic() - started
                speed = running.rows / max(running.seconds, 1e-9)
                self.emit(
                    {
                        "event": "step",
                        "epoch": epoch,
                        "step": running.step,
                        "steps": self.steps_per_epoch,
                        "loss": self._mean_loss(running),
                        "rows_per_second": speed,
                    }
                )
                is_due = 0 < recipe.checkpoint_minutes * 60 <= time.monotonic() - self.saved_at
                if is_told_to_leave() or (is_due and running.step < self.steps_per_epoch):
                    self._save()
                if is_told_to_leave():
                    break
        return {
            "epoch": epoch,
            "train_loss": self._mean_loss(running),
            "lr": self.steps.lr,
            "seconds": round(running.seconds, 3),
            "rows_per_second": round(running.rows / max(running.seconds, 1e-9), 1),
            "peak_rss_mb": peak_memory_mb(),
        }

    def _mean_loss(self, running: RunningEpoch) -> float:
        sums = torch.tensor(running.sums, dtype=torch.float64)
        return float(self.loss.total(sums, torch.tensor(running.terms))) if running.sums else 0.0

    def _step(self, group: list[list[int]], train: Rows) -> tuple[list[float], list[int]]:
        """One optimizer step over the micro-batches of a group; each cell weighs the same.

        Returns:
            The sum of the loss's terms and their number, per target.
        """
        accelerator = self.accelerator
        gold = [_take_gold(train, rows) for rows in group]
        terms = torch.stack([self._count_terms(cells) for cells in gold]).sum(dim=0)
        sums = torch.zeros(len(terms))
        for position, rows in enumerate(group):
            last = position == len(group) - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                batch, cells = self._batch(train, rows), gold[position].on(accelerator.device)
                with self.adversary.watch() if self.recipe.fgm else nullcontext():
                    loss, added = self._loss(batch, cells, terms)
                self._require_finite(loss, train, rows)
                accelerator.backward(loss)
                if self.recipe.fgm:
                    with self.adversary.attack():
                        loss, _ = self._loss(batch, cells, terms)
                    accelerator.backward(loss)
            sums += added.detach().cpu()
        self.steps.take()
        self.average.add_step(self._trained())
        return sums.tolist(), terms.tolist()

    def _loss(self, batch: dict[str, Tensor], cells: _Gold, terms: Tensor) -> tuple[Tensor, Tensor]:
        """The loss `()` of a micro-batch, and the sums of its terms `(n_parts,)`.

        With R-Drop (Liang et al. 2021, arXiv 2106.14448) the batch is read twice, each time with a
        dropout of its own, and how far the two passes differ is part of the loss.
        """
        if self.recipe.rdrop:
            batch = {name: torch.cat([tensor, tensor]) for name, tensor in batch.items()}
        logits = self.model(**batch)
        parts = list(cells.split(logits))
        sums = _add_up(w * self.loss.sum_terms(part, c.targets, c.blocks) for w, part, c in parts)
        loss = self.loss.total(sums, terms)
        if self.recipe.rdrop:
            apart = _add_up(w * self.loss.sum_divergence(part, c.targets) for w, part, c in parts)
            loss = loss + self.recipe.rdrop * self.loss.total(apart, terms)
        return loss, sums

    def _count_terms(self, cells: _Gold) -> Tensor:
        parts = cells.split(cells.targets)
        return _add_up(w * self.loss.count_terms(c.targets) for w, _, c in parts)

    def _require_finite(self, loss: Tensor, train: Rows, rows: list[int]) -> None:
        value = float(loss.detach())
        if not math.isfinite(value):
            names = ", ".join(train.names[row] for row in rows)
            raise KitError(
                f"fold {self.fold}: the loss is {value} on the rows {names}. Lower the learning "
                "rate, or set precision = 'fp32'. The last checkpoint is kept."
            )

    def _validate(self, valid: Rows) -> Event:
        # Not through self.model: with several processes its forward waits for all the others,
        # and they need not have the same number of batches.
        logits = self._forward(self.classifier, valid)
        gold = _take_gold(valid, list(range(len(valid.names))))
        loss = self.valid_loss
        sums = loss.sum_terms(logits, gold.targets, gold.blocks)
        terms = loss.count_terms(gold.targets)
        probs = self.targets.to_probs(logits).numpy()
        return {
            "val_loss": float(loss.total(sums, terms)),
            **measure(probs, valid.targets, self.targets),
        }

    @torch.no_grad()
    def _forward(self, model: Any, rows: Rows) -> Tensor:
        """Logits of all rows on every process: each computes its share, then they exchange."""
        model.eval()
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batches = plain_batches(rows.tokens.lengths, self.recipe.eval_batch_size)
        logits = torch.empty((len(rows.names), len(self.targets.columns)), dtype=torch.float64)
        share = [
            (batch, model(**self._batch(rows, batch)).double().cpu())
            for batch in batches[rank::world]
        ]
        for batch, values in gather_object(share) if world > 1 else share:
            logits[batch] = values
        return logits

    def _batch(self, rows: Rows, chosen: list[int]) -> dict[str, Tensor]:
        batch = pad_batch(rows.tokens.take(chosen), self.pad_id)
        return {key: value.to(self.accelerator.device) for key, value in batch.items()}

    def _trained(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters that learn, by name."""
        return ((n, p) for n, p in self.classifier.named_parameters() if p.requires_grad)

    def _trainable(self) -> dict[str, Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self._trained()}

    @torch.no_grad()
    def _load_trainable(self, weights: dict[str, Tensor]) -> None:
        named = dict(self.classifier.named_parameters())
        for name, value in weights.items():
            named[name].copy_(value.to(named[name].device))

    def _save(self) -> None:
        """Write a checkpoint, from the main process: all have the same state."""
        self.saved_at = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        progress = self.progress
        state: Event = {
            "history": progress.history,
            "best_epoch": progress.best_epoch,
            "best_value": progress.best_value,
            "running": asdict(progress.running),
            "stamp": self.stamp,
            "averaged": self.average.count,
            **self.steps.state(),
        }
        is_current = progress.best_epoch == progress.epoch and not progress.running.step
        is_current = is_current and not self.average.count
        best = None if is_current else progress.best_weights
        save_checkpoint(
            self.checkpoint_dir,
            Checkpoint(
                progress.epoch,
                progress.running.step,
                state,
                self._trainable(),
                self.steps.tensors(),
                best,
                {name: value.cpu() for name, value in self.average.weights.items()},
            ),
        )

    def _resume(self) -> Progress:
        def note(text: str) -> None:
            self.emit({"event": "note", "text": text})

        kept = load_newest(self.checkpoint_dir, note)
        if kept is None:
            return Progress()
        if kept.state["stamp"] != self.stamp:
            difference = describe_difference(kept.state["stamp"], self.stamp)
            note(f"fold {self.fold} starts again: {difference}")
            return Progress()
        self._load_trainable(kept.model)
        self.steps.restore(kept.optimizer, kept.state)
        self.average.count = kept.state["averaged"]
        device = self.accelerator.device
        self.average.weights = {name: value.to(device) for name, value in kept.average.items()}
        self.emit({"event": "resumed", "epoch": kept.epoch, "step": kept.step})
        return Progress(
            epoch=kept.epoch,
            history=kept.state["history"],
            best_epoch=kept.state["best_epoch"],
            best_value=kept.state["best_value"],
            best_weights=kept.best if kept.best or kept.step else kept.model,
            running=RunningEpoch(**kept.state["running"]),
        )


@dataclass(frozen=True, eq=False)
class _Gold:
    """What a micro-batch is taught: targets `(n_texts, n_columns)`; per row weight and language."""

    targets: Tensor
    weights: Tensor | None
    blocks: Tensor | None

    def on(self, device: torch.device) -> _Gold:
        weights = None if self.weights is None else self.weights.to(device)
        blocks = None if self.blocks is None else self.blocks.to(device)
        return _Gold(self.targets.to(device), weights, blocks)

    def split(self, logits: Tensor) -> Iterator[tuple[float, Tensor, _Gold]]:
        """The rows that weigh alike together: their weight, their logits, their gold.

        Args:
            logits: of each row, or several, one block of rows after the other.
        """
        if self.weights is None:
            yield 1.0, logits, self
            return
        copies = logits.view(-1, len(self.targets), logits.shape[1])
        for weight in sorted(set(self.weights.tolist())):
            rows = self.weights == weight
            blocks = None if self.blocks is None else self.blocks[rows]
            yield weight, copies[:, rows].flatten(0, 1), _Gold(self.targets[rows], None, blocks)


def _take_gold(rows: Rows, chosen: list[int]) -> _Gold:
    return _Gold(
        torch.tensor(rows.targets[chosen], dtype=torch.float32),
        torch.tensor(rows.weights[chosen], dtype=torch.float32) if len(rows.weights) else None,
        torch.tensor(rows.blocks[chosen]) if len(rows.blocks) else None,
    )


def _add_up(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(dim=0)


def describe_difference(old: Event, new: Event) -> str:
    """Say in which entries two stamps differ."""
    return "; ".join(
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )
