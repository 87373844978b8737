"""The training loop of one fold, on one or many processes, resumable within an epoch.

Data order is seeded from (seed, fold, epoch) and dropout from (seed, fold, epoch, step), so a step
does not depend on how the process came to it: resuming needs weights, optimizer state and the best
epoch, no more.

On a GPU batches are laid out ahead by a thread, and losses are looked at twice a second: of what is
written here nothing in a step waits for it (transformers asks it before each pass whether anything
is padded). Where its memory does not suffice, batches are halved and the step is done again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from accelerate.utils.memory import clear_device_cache
from numpy.typing import NDArray
from torch import Tensor

from semeval_kit.errors import KitError, is_gpu_out_of_memory
from semeval_kit.plurals import count_noun
from semeval_kit.training.batches import (
    Gold,
    MicroBatch,
    Rows,
    cut,
    in_halves,
    lay_out_ahead,
    pad_rows,
    pin,
    place,
    plain_batches,
    send,
    training_batches,
)
from semeval_kit.training.checkpoint import Checkpoint, load_newest, save_checkpoint
from semeval_kit.training.encoder import load_classifier, parameter_groups
from semeval_kit.training.head import TargetLoss
from semeval_kit.training.machine import finish_step_first, peak_memory_mb
from semeval_kit.training.progress import Progress, RunningEpoch, measure
from semeval_kit.training.recipe import Recipe
from semeval_kit.training.steps import (
    Adversary,
    Pace,
    Steps,
    WeightAverage,
    copy_weights,
    count_steps,
    draw_seed,
    list_learning,
    list_learning_encoder,
    load_weights,
    share_batches,
)
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
        if accelerator.device.type == "mps":
            # Its fused attention gave wrong values for padded texts of up to 8 tokens, unseen:
            # https://github.com/pytorch/pytorch/pull/184180, /issues/181133.
            self.classifier.network.set_attn_implementation("eager")

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
        self.pace = Pace(accelerator, recipe, count_steps(len(train.names), recipe, accelerator))
        total = self.pace.steps * recipe.epochs
        groups = parameter_groups(self.classifier, recipe)
        self.steps = Steps(accelerator, self.classifier, groups, recipe, total)
        self.model = self.steps.model
        options = LossOptions(recipe.label_smoothing, recipe.asymmetric)
        weighing = (self.targets, train.targets, recipe.positive_weight)
        self.loss = TargetLoss(*weighing, options, train.blocks).to(accelerator.device)
        self.valid_loss = TargetLoss(*weighing, blocks=train.blocks)
        self.adversary = Adversary(self.classifier.network.get_input_embeddings(), recipe.fgm)
        self.average = WeightAverage(
            recipe.ema,
            recipe.average_epochs,
            interpolation=recipe.interpolation,
            start=list_learning_encoder(self.classifier),
        )
        self.checkpoint_dir, self.stamp = checkpoint_dir, stamp
        self.rows_at_once = recipe.batch_size  # of a forward pass: fewer where memory is short
        progress = self.progress = self._resume()
        self.pace.saved_at = time.monotonic()
        while progress.epoch < recipe.epochs and not progress.is_out_of_patience(recipe, metric):
            row = self._train_epoch(progress.epoch + 1, train)
            self.average.add_epoch(
                list_learning(self.classifier), recipe.epochs - progress.epoch - 1
            )
            with self.average.in_place_of(dict(list_learning(self.classifier))):
                row |= self._validate(valid)
                progress.add_epoch(row, recipe, metric, partial(copy_weights, self.classifier))
            self.emit({"event": "epoch", **row})
            if accelerator.is_main_process:
                keep(progress.history)
            if progress.epoch < recipe.epochs and not progress.is_out_of_patience(recipe, metric):
                with finish_step_first():
                    self._save()
            accelerator.wait_for_everyone()
        if progress.best_weights is not None:
            load_weights(self.classifier, progress.best_weights)
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
        share = share_batches(order, accelerator)
        groups = [
            share[first : first + recipe.accumulation]
            for first in range(running.step * recipe.accumulation, len(share), recipe.accumulation)
        ]
        started = time.monotonic() - running.seconds

        def take(ready: list[MicroBatch], step: int) -> _Taken:
            seed = draw_seed(recipe, self.fold, "step", epoch, step)
            return self._step(ready, train, seed + accelerator.process_index)

        def look(steps: list[_Taken], _: int) -> None:
            running.seconds = time.monotonic() - started
            self._look_at(steps, train)

        self.model.train()
        lay_out = partial(self._lay_out, train=train)
        laid_out = lay_out_ahead(groups, lay_out, accelerator.device)
        self.pace.take(laid_out, running.step, take, look, lambda _: self._save())
        return {
            "epoch": epoch,
            "train_loss": self._mean_loss(running),
            "lr": self.steps.lr,
            "seconds": round(running.seconds, 3),
            "rows_per_second": round(running.rows / max(running.seconds, 1e-9), 1),
            "peak_rss_mb": peak_memory_mb(),
        }

    def _look_at(self, steps: list[_Taken], train: Rows) -> None:
        """Add up what steps came to, and tell of it."""
        running = self.progress.running
        for taken in steps:
            self._require_finite(taken, train)
            rows = len(taken.rows) * self.accelerator.num_processes
            running.add_step(taken.figures[:-1], taken.terms, rows)
        self.emit(
            {
                "event": "step",
                "epoch": self.progress.epoch + 1,
                "step": running.step,
                "steps": self.pace.steps,
                "loss": self._mean_loss(running),
                "rows_per_second": running.rows / max(running.seconds, 1e-9),
            }
        )

    def _mean_loss(self, running: RunningEpoch) -> float:
        sums = torch.tensor(running.sums, dtype=torch.float64)
        return float(self.loss.total(sums, torch.tensor(running.terms))) if running.sums else 0.0

    def _lay_out(self, group: list[list[int]], train: Rows) -> list[MicroBatch]:
        parts = [part for rows in group for part in cut(rows, self.rows_at_once)]
        device = self.accelerator.device
        return [MicroBatch.of(train, rows, self.pad_id, device) for rows in parts]

    def _step(self, ready: list[MicroBatch], train: Rows, seed: int) -> _Taken:
        """One optimizer step over the micro-batches of a group; each cell weighs the same."""
        if max(len(micro.rows) for micro in ready) > self.rows_at_once:  # laid out before a halving
            ready = self._lay_out([micro.rows for micro in ready], train)
        while True:
            torch.manual_seed(seed)
            try:
                taken = self._gather_gradients(ready)
                break
            except RuntimeError as error:
                if not is_gpu_out_of_memory(error):
                    raise
                self._halve(ready, error)
                ready = self._lay_out([micro.rows for micro in ready], train)
        if self.accelerator.device.type == "cpu":
            self._require_finite(taken, train)
        self.steps.take()
        self.average.add_step(list_learning(self.classifier))
        return taken

    def _gather_gradients(self, ready: list[MicroBatch]) -> _Taken:
        accelerator, device = self.accelerator, self.accelerator.device
        terms = torch.stack([self._count_terms(micro.gold) for micro in ready]).sum(dim=0)
        counts = send(pin(terms, device), device)
        sums, total = torch.zeros(len(terms), device=device), torch.zeros((), device=device)
        for position, micro in enumerate(ready):
            last = position == len(ready) - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                batch, cells = place(micro.inputs, device), micro.gold.on(device)
                with self.adversary.watch() if self.recipe.fgm else nullcontext():
                    loss, added = self._loss(batch, cells, counts)
                accelerator.backward(loss)
                if self.recipe.fgm:
                    with self.adversary.attack():
                        harder, _ = self._loss(batch, cells, counts)
                    accelerator.backward(harder)
            sums += added.detach()
            total += loss.detach()
        rows = [row for micro in ready for row in micro.rows]
        return _Taken(torch.cat([sums, total[None]]), terms.tolist(), rows)

    def _halve(self, ready: list[MicroBatch], error: Exception) -> None:
        """Read half as many rows at once from now on, and forget the gradients so far.

        Raises:
            KitError: there is no less, or other processes would wait for this one.
        """
        most = max(len(micro.rows) for micro in ready)
        if most == 1 or self.accelerator.num_processes > 1:
            raise KitError(
                f"fold {self.fold}: the GPU's memory does not suffice for "
                f"{count_noun(most, 'row')} at once. "
                "Lower max_length or batch_size (with more accumulation), set precision = 'bf16' "
                "(or 'fp16' where the GPU has no bf16), "
                "train fewer folds at a time (--jobs), or take a smaller encoder."
            ) from error
        self.rows_at_once = math.ceil(most / 2)
        self.classifier.zero_grad()
        clear_device_cache(garbage_collection=True)
        text = (
            f"the GPU's memory does not suffice for {most} rows at once: "
            f"{count_noun(self.rows_at_once, 'is', 'are')} read at a time, and as many as before "
            "make a step"
        )
        self.emit({"event": "note", "text": text})

    def _loss(self, batch: dict[str, Tensor], cells: Gold, terms: Tensor) -> tuple[Tensor, Tensor]:
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

    def _count_terms(self, cells: Gold) -> Tensor:
        parts = cells.split(cells.targets)
        return _add_up(w * self.loss.count_terms(c.targets) for w, _, c in parts)

    def _require_finite(self, taken: _Taken, train: Rows) -> None:
        loss = taken.figures[-1]
        if not math.isfinite(loss):
            names = ", ".join(train.names[row] for row in taken.rows)
            raise KitError(
                f"fold {self.fold}: the loss is {loss} on the rows {names}. Lower the "
                "learning rate, or set precision = 'fp32'. The last checkpoint is kept."
            )

    def _validate(self, valid: Rows) -> Event:
        # Not through self.model: with several processes its forward waits for all the others,
        # and they need not have the same number of batches.
        logits = self._forward(self.classifier, valid)
        gold = Gold.of(valid, list(range(len(valid.names))))
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

        def read(numbers: list[int]) -> Tensor:
            device = self.accelerator.device
            logits: Tensor = model(**place(pad_rows(rows, numbers, self.pad_id, device), device))
            return logits

        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batches = plain_batches(rows.tokens.lengths, self.recipe.eval_batch_size)
        logits = torch.empty((len(rows.names), len(self.targets.columns)), dtype=torch.float64)
        share = [(batch, in_halves(batch, read)) for batch in batches[rank::world]]
        share = [(batch, values.cpu().double()) for batch, values in share]
        for batch, values in gather_object(share) if world > 1 else share:
            logits[batch] = values
        return logits

    def _save(self) -> None:
        """Write a checkpoint, from the main process: all have the same state."""
        self.pace.saved_at = time.monotonic()
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
            "rows_at_once": self.rows_at_once,
            **self.steps.state(),
        }
        is_current = progress.best_epoch == progress.epoch and not progress.running.step
        is_current = is_current and self.average.is_idle
        best = None if is_current else progress.best_weights
        save_checkpoint(
            self.checkpoint_dir,
            Checkpoint(
                progress.epoch,
                progress.running.step,
                state,
                copy_weights(self.classifier),
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
        load_weights(self.classifier, kept.model)
        self.steps.restore(kept.optimizer, kept.state)
        self.rows_at_once = kept.state.get("rows_at_once", self.rows_at_once)
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


class _Taken:
    """A step that was taken, of which nobody has looked at the loss: a GPU would be waited for."""

    def __init__(self, figures: Tensor, terms: list[int], rows: list[int]) -> None:
        """Keep the sums of the loss's terms per target with the loss behind them, on the device."""
        self.terms, self.rows = terms, rows
        self._figures = figures

    @cached_property
    def figures(self) -> list[float]:
        """The sums of the loss's terms per target, and the loss."""
        return [float(value) for value in self._figures.tolist()]


def _add_up(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(dim=0)


def describe_difference(old: Event, new: Event) -> str:
    """Say in which entries two stamps differ."""
    return "; ".join(
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )
