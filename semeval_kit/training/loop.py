"""The training loop of one fold, on one or many processes, resumable after every epoch.

Data order and dropout are seeded from (seed, fold, epoch), so an epoch does not depend on how
the process came to it: resuming needs weights, optimizer state and the best epoch, no more.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from numpy.typing import NDArray
from torch import Tensor
from transformers import get_linear_schedule_with_warmup

from semeval_kit.errors import KitError
from semeval_kit.training.batches import Rows, pad_batch, plain_batches, training_batches
from semeval_kit.training.checkpoint import Checkpoint, load_newest, save_checkpoint
from semeval_kit.training.encoder import (
    MeanClassifier,
    OwnHeadClassifier,
    Targets,
    load_classifier,
    parameter_groups,
)
from semeval_kit.training.machine import peak_memory_mb
from semeval_kit.training.measures import TargetLoss, measure, to_probs
from semeval_kit.training.progress import Progress
from semeval_kit.training.recipe import TrainConfig

Array = NDArray[np.float64]
Event = dict[str, Any]


class FoldTrainer:
    """Trains one fold: `fit`, then `predict` with the best weights."""

    def __init__(
        self,
        config: TrainConfig,
        targets: Targets,
        fold: int,
        pad_id: int,
        *,
        precision: str,
        emit: Callable[[Event], None],
    ) -> None:
        """Build model and optimizer; every process of the fold does so alike."""
        self.config, self.targets, self.fold, self.pad_id = config, targets, fold, pad_id
        self.emit = emit
        mixed = {"fp32": "no"}.get(precision, precision)
        # Without cpu=True several processes on a CPU would each train alone, unasked and untold.
        on_cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
        self.accelerator = Accelerator(mixed_precision=mixed, cpu=on_cpu)
        asked = int(os.environ.get("WORLD_SIZE", "1"))
        if asked != self.accelerator.num_processes:
            raise KitError(
                f"fold {fold}: {asked} processes were started, but each would train alone. "
                "Use --processes 1, or set up `accelerate config` for this machine."
            )
        set_seed(self._seed("head"))
        self.classifier: MeanClassifier | OwnHeadClassifier = load_classifier(config, targets)

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
        config, accelerator = self.config, self.accelerator
        groups = parameter_groups(self.classifier, config)
        fused = accelerator.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(groups, fused=fused)
        self.model, prepared = accelerator.prepare(self.classifier, self.optimizer)
        micro_batches = math.ceil(len(train.names) / config.batch_size)
        per_process = math.ceil(micro_batches / accelerator.num_processes)
        self.steps_per_epoch = math.ceil(per_process / config.accumulation)
        total = self.steps_per_epoch * config.epochs
        warmup = round(config.warmup * total) if config.warmup < 1 else round(config.warmup)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, warmup, max(total, 1))
        self.loss = TargetLoss(train.targets, self.targets.exclusive, config.positive_weight)
        progress = self._resume(checkpoint_dir, stamp)
        for epoch in range(progress.epoch + 1, config.epochs + 1):
            if progress.is_out_of_patience(config, metric):
                break
            row = self._train_epoch(epoch, train, prepared)
            row |= self._validate(valid)
            progress.add_epoch(row, config, metric, self._trainable)
            self.emit({"event": "epoch", **row})
            last = epoch == config.epochs or progress.is_out_of_patience(config, metric)
            if accelerator.is_main_process:
                keep(progress.history)
                if not last:
                    save_checkpoint(checkpoint_dir, self._state(progress, stamp))
            accelerator.wait_for_everyone()
        if progress.best_weights is not None:
            self._load_trainable(progress.best_weights)
        return progress

    def predict(self, rows: Rows) -> Array:
        """Return probabilities `(n_examples, n_targets)`, computed in fp32."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        logits = self._forward(model, rows)
        return to_probs(logits, self.targets.exclusive)

    def _seed(self, *parts: object) -> int:
        text = ":".join(map(str, (self.config.seed, self.fold, *parts)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % 2**31

    def _train_epoch(self, epoch: int, train: Rows, optimizer: Any) -> Event:
        config, accelerator = self.config, self.accelerator
        order = training_batches(
            train.lengths, config.batch_size, f"{config.seed}:{self.fold}:{epoch}"
        )
        world, rank = accelerator.num_processes, accelerator.process_index
        order += order[: -len(order) % world]
        own = order[rank::world]
        set_seed(self._seed("epoch", epoch) + rank)
        self.model.train()
        started, seen, loss_sum, terms_sum = time.monotonic(), 0, 0.0, 0
        for step in range(self.steps_per_epoch):
            group = own[step * config.accumulation : (step + 1) * config.accumulation]
            value, terms = self._step(group, train, optimizer)
            seen += sum(map(len, group)) * world
            loss_sum, terms_sum = loss_sum + value, terms_sum + terms
            self.emit(
                {
                    "event": "step",
                    "epoch": epoch,
                    "step": step + 1,
                    "steps": self.steps_per_epoch,
                    "loss": loss_sum / max(terms_sum, 1),
                    "rows_per_second": seen / max(time.monotonic() - started, 1e-9),
                }
            )
        seconds = time.monotonic() - started
        return {
            "epoch": epoch,
            "train_loss": loss_sum / max(terms_sum, 1),
            "lr": self.schedule.get_last_lr()[0],
            "seconds": round(seconds, 3),
            "rows_per_second": round(seen / max(seconds, 1e-9), 1),
            "peak_rss_mb": peak_memory_mb(),
        }

    def _step(self, group: list[list[int]], train: Rows, optimizer: Any) -> tuple[float, int]:
        """One optimizer step over the micro-batches of a group; each cell weighs the same."""
        accelerator = self.accelerator
        gold = [torch.tensor(train.targets[rows], dtype=torch.float32) for rows in group]
        terms = [self.loss.count(targets) for targets in gold]
        value = 0.0
        for position, rows in enumerate(group):
            last = position == len(group) - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                batch = self._batch(train, rows)
                logits = self.model(**batch)
                loss = self.loss.sum(logits, gold[position].to(accelerator.device))
                loss = loss / max(sum(terms), 1)
                value += self._checked(loss, train, rows)
                accelerator.backward(loss)
        if self.config.max_grad_norm:
            accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        optimizer.step()
        if not accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        optimizer.zero_grad()
        return value * sum(terms), sum(terms)

    def _checked(self, loss: Tensor, train: Rows, rows: list[int]) -> float:
        value = float(loss.detach())
        if not math.isfinite(value):
            names = ", ".join(train.names[row] for row in rows)
            raise KitError(
                f"fold {self.fold}: the loss is {value} on the rows {names}. Lower the learning "
                "rate, or set precision = 'fp32'. The last checkpoint is kept."
            )
        return value

    def _validate(self, valid: Rows) -> Event:
        # Not through self.model: with several processes its forward waits for all the others,
        # and they need not have the same number of batches.
        logits = self._forward(self.classifier, valid)
        gold = torch.tensor(valid.targets, dtype=torch.float32)
        terms = self.loss.count(gold)
        loss = float(self.loss.sum(torch.tensor(logits), gold)) / max(terms, 1)
        probs = to_probs(logits, self.targets.exclusive)
        targets = self.targets
        scores = measure(probs, valid.targets, targets.exclusive, targets.n_levels)
        return {"val_loss": loss, **scores}

    @torch.no_grad()
    def _forward(self, model: Any, rows: Rows) -> Array:
        """Logits of all rows on every process: each computes its share, then they exchange."""
        model.eval()
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batches = plain_batches(rows.lengths, self.config.eval_batch_size)
        logits = np.empty((len(rows.names), len(self.targets.names)), dtype=np.float64)
        own = [
            (batch, model(**self._batch(rows, batch)).float().cpu().numpy())
            for batch in batches[rank::world]
        ]
        for batch, values in gather_object(own) if world > 1 else own:
            logits[batch] = values
        return logits

    def _batch(self, rows: Rows, chosen: list[int]) -> dict[str, Tensor]:
        batch = pad_batch([rows.token_ids[row] for row in chosen], self.pad_id)
        return {key: value.to(self.accelerator.device) for key, value in batch.items()}

    def _trainable(self) -> dict[str, Tensor]:
        named = self.classifier.named_parameters()
        return {name: p.detach().cpu().clone() for name, p in named if p.requires_grad}

    @torch.no_grad()
    def _load_trainable(self, weights: dict[str, Tensor]) -> None:
        named = dict(self.classifier.named_parameters())
        for name, value in weights.items():
            named[name].copy_(value.to(named[name].device))

    def _state(self, progress: Progress, stamp: Event) -> Checkpoint:
        tensors = {}
        for index, moments in self.optimizer.state_dict()["state"].items():
            for key, value in moments.items():
                tensors[f"{index}.{key}"] = torch.as_tensor(value).cpu().contiguous()
        is_last = progress.best_epoch == progress.epoch
        state: Event = {
            "history": progress.history,
            "best_epoch": progress.best_epoch,
            "best_value": progress.best_value,
            "stamp": stamp,
            "steps": self.schedule.last_epoch,
        }
        if self.accelerator.scaler is not None:  # fp16 on a GPU
            state["scaler"] = self.accelerator.scaler.state_dict()
        best = None if is_last else progress.best_weights
        return Checkpoint(progress.epoch, state, self._trainable(), tensors, best)

    def _resume(self, folder: Path, stamp: Event) -> Progress:
        fresh = Progress()
        found = load_newest(folder, lambda text: self.emit({"event": "note", "text": text}))
        if found is None:
            return fresh
        if found.state["stamp"] != stamp:
            text = describe_difference(found.state["stamp"], stamp)
            self.emit({"event": "note", "text": f"fold {self.fold} starts again: {text}"})
            return fresh
        self._load_trainable(found.model)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in found.optimizer.items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        steps = found.state["steps"]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(found.state["scaler"])
        counters = {"last_epoch": steps - 1, "_step_count": steps}
        self.schedule.load_state_dict({**self.schedule.state_dict(), **counters})
        self.schedule.step()
        self.emit({"event": "resumed", "epoch": found.epoch})
        return Progress(
            epoch=found.epoch,
            history=found.state["history"],
            best_epoch=found.state["best_epoch"],
            best_value=found.state["best_value"],
            best_weights=found.model if found.best is None else found.best,
        )


def describe_difference(old: Event, new: Event) -> str:
    """Say in which entries two stamps differ."""
    return "; ".join(
        f"{key} was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    )
