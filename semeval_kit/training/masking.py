"""Masked language modelling: an encoder reads the task's texts before it learns from labels.

Some of the tokens are masked, and the encoder says what they were (Devlin et al. 2019, arXiv
1810.04805; on the texts of the task itself: Gururangan et al. 2020, arXiv 2004.10964). A fold reads
the texts that it learns from, never those that it is judged on; with `transductive` all of them do,
those of dev and test, too, so that out-of-fold rows are what test rows are.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import release_memory, set_seed
from torch import Tensor
from torch.nn import functional
from transformers import DataCollatorForLanguageModeling

from semeval_kit.errors import KitError
from semeval_kit.files import remove_tree
from semeval_kit.plurals import count_noun
from semeval_kit.training.batches import (
    lay_out_ahead,
    pad_batch,
    pin,
    place,
    send,
    training_batches,
)
from semeval_kit.training.checkpoint import (
    Checkpoint,
    find_fault,
    load_newest,
    save_checkpoint,
    staged_dir,
)
from semeval_kit.training.encoder import frozen_modules, group_parameters, load_bare, load_masked
from semeval_kit.training.machine import finish_step_first
from semeval_kit.training.recipe import Recipe, peak_lr
from semeval_kit.training.steps import (
    Pace,
    Steps,
    Workplace,
    copy_weights,
    count_steps,
    draw_seed,
    load_weights,
    share_batches,
)
from semeval_kit.training.tokens import Tokens

Event = dict[str, Any]
SHARE = 0.15  # of the tokens: as in both papers
_TOLD = "adapting.json"
_NOT_ASKED = -100  # the label of a token that nobody asks for
# Tokens with some masked, what they were, and how many of them are asked for.
_Masked = tuple[dict[str, Tensor], Tensor, int]


def adapt_encoder(
    recipe: Recipe,
    fold: int,
    tokenizer: Any,
    tokens: Tokens,
    folder: Path,
    place: Workplace,
) -> Event:
    """Let the recipe's encoder read texts with masked tokens, and lay it down as a folder.

    What a kill left is gone on with; what is there already is taken as it is.

    Args:
        recipe: `mlm_epochs` and the rest.
        fold: its number, for what is drawn.
        tokenizer: the encoder's.
        tokens: of the texts; of pairs apart, both texts are read.
        folder: where the adapted encoder goes.
        place: where the fold is trained.

    Returns:
        `texts`, their number, and `losses`, the mean loss of each epoch.

    Raises:
        KitError: the encoder has no head for masked tokens, its tokenizer no token to mask with,
            or the loss is not a number.
    """
    if folder.is_dir():
        fault = find_fault(folder)
        told = {} if fault else json.loads((folder / _TOLD).read_text(encoding="utf-8"))
        if told.get("stamp") == place.stamp:
            return {name: told[name] for name in ("texts", "losses")}
        place.emit({"event": "note", "text": f"{folder}: {fault or 'made otherwise'}; read again"})
    accelerator = place.accelerator
    trainer = _MaskedTrainer(recipe, fold, tokenizer, place)
    read = Tokens.join([Tokens(tokens.ids, tokens.types), Tokens(tokens.seconds)])
    said = {"texts": len(read), "losses": trainer.fit(read, folder.with_name("reading"))}
    if accelerator.is_main_process:
        remove_tree(folder)
        with staged_dir(folder) as staging:
            trainer.save(staging)
            content = json.dumps({**said, "stamp": place.stamp})
            (staging / _TOLD).write_text(content, encoding="utf-8")
        remove_tree(folder.with_name("reading"))
    accelerator.wait_for_everyone()
    del trainer
    accelerator.free_memory()  # forgets the model
    release_memory()  # collects what it held: a wrapped forward pass holds its own model
    return said


class _MaskedTrainer:
    """Trains an encoder with its head for masked tokens."""

    def __init__(self, recipe: Recipe, fold: int, tokenizer: Any, place: Workplace) -> None:
        self.recipe, self.fold = recipe, fold
        self.accelerator, self.stamp, self.emit = place.accelerator, place.stamp, place.emit
        if tokenizer.mask_token is None:
            raise KitError(
                f"encoder '{recipe.encoder}': its tokenizer has no mask token, so it cannot "
                "learn from masked ones. Set mlm_epochs = 0."
            )
        self.collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=SHARE)
        self.pad_id = int(tokenizer.pad_token_id or 0)
        set_seed(draw_seed(recipe, fold, "masked"))
        self.network = load_masked(recipe)
        for module in frozen_modules(self.network.base_model, recipe):
            module.requires_grad_(False)

    def fit(self, tokens: Tokens, checkpoint_dir: Path) -> list[float]:
        """Train all epochs and return the mean loss of each."""
        recipe, accelerator = self.recipe, self.accelerator
        self.pace = Pace(accelerator, recipe, count_steps(len(tokens), recipe, accelerator))
        width = int(self.network.config.hidden_size)
        rates = [(p, peak_lr(recipe, width)) for p in self.network.parameters()]
        groups = group_parameters(rates, recipe.weight_decay)
        total = self.pace.steps * recipe.mlm_epochs
        self.steps = Steps(accelerator, self.network, groups, recipe, total)
        self.checkpoint_dir = checkpoint_dir
        self.losses: list[float] = []
        self.sums = (0.0, 0)  # of the epoch that has begun: loss, and tokens asked for
        step = self._resume()
        self.pace.saved_at = time.monotonic()
        while len(self.losses) < recipe.mlm_epochs:
            started = time.monotonic()
            self._read_epoch(tokens, step)
            step = 0
            self.losses.append(self.sums[0] / max(self.sums[1], 1))
            self.sums = (0.0, 0)
            done = f"masked tokens, epoch {len(self.losses)} of {recipe.mlm_epochs}"
            seconds = time.monotonic() - started
            self.emit(
                {"event": "note", "text": f"{done}: loss {self.losses[-1]:.4f}, {seconds:.0f} s"}
            )
            with finish_step_first():
                self._save(0)
            accelerator.wait_for_everyone()
        return self.losses

    def save(self, folder: Path) -> None:
        """Write the encoder without the head; what the head does not use is as it was before."""
        bare = load_bare(self.recipe)
        adapted = self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False).base_model
        weights = {name: value.detach().cpu() for name, value in adapted.state_dict().items()}
        bare.load_state_dict(weights, strict=False)  # a pooler is not there
        bare.save_pretrained(folder)

    def _read_epoch(self, tokens: Tokens, step: int) -> None:
        recipe, epoch, n_steps = self.recipe, len(self.losses) + 1, self.pace.steps
        order_seed = f"masked:{recipe.seed}:{self.fold}:{epoch}"
        batches = training_batches(tokens.lengths, recipe.batch_size, order_seed)
        share, device = share_batches(batches, self.accelerator), self.accelerator.device

        def lay_out(number: int) -> list[_Masked]:
            first = number * recipe.accumulation
            self.collator.generator = torch.Generator().manual_seed(self._seed(epoch, number))
            group = share[first : first + recipe.accumulation]
            return [self._mask(tokens.take(rows), device) for rows in group]

        def take(ready: list[_Masked], number: int) -> tuple[Tensor, int]:
            torch.manual_seed(self._seed(epoch, number))
            return self._step(ready)

        def look(steps: list[tuple[Tensor, int]], n_done: int) -> None:
            for loss, terms in steps:
                self._add(float(loss), terms)
            done, total = (epoch - 1) * n_steps + n_done, n_steps * recipe.mlm_epochs
            what = {"split": "masked tokens", "done": done, "rows": total}
            self.emit({"event": "rows", **what})

        self.network.train()
        laid_out = lay_out_ahead(range(step, n_steps), lay_out, device)
        self.pace.take(laid_out, step, take, look, self._save)

    def _seed(self, epoch: int, step: int) -> int:
        seed = draw_seed(self.recipe, self.fold, "masked", epoch, step)
        return seed + int(self.accelerator.process_index)

    def _step(self, ready: list[_Masked]) -> tuple[Tensor, int]:
        """One optimizer step over micro-batches; each masked token weighs the same.

        Returns:
            The sum of the loss over the masked tokens `()`, and their number.
        """
        device = self.accelerator.device
        terms = max(sum(n_masked for _, _, n_masked in ready), 1)
        total = torch.zeros((), device=device)
        for inputs, labels, _ in ready:
            logits = self.steps.model(**place(inputs, device)).logits
            loss = functional.cross_entropy(
                logits.float().flatten(0, 1),
                send(labels, device).flatten(),
                ignore_index=_NOT_ASKED,
                reduction="sum",
            )
            self.accelerator.backward(loss / terms)
            total += loss.detach()
        self.steps.take()
        return total, terms

    def _add(self, loss: float, terms: int) -> None:
        if not math.isfinite(loss):
            raise KitError(
                f"fold {self.fold}: the loss on masked tokens is {loss}. Lower the learning "
                "rate, or set precision = 'fp32'. The last checkpoint is kept."
            )
        self.sums = (self.sums[0] + loss, self.sums[1] + terms)

    def _mask(self, tokens: Tokens, device: torch.device) -> _Masked:
        batch = pad_batch(tokens, self.pad_id)
        ids, labels = self.collator.torch_mask_tokens(batch["input_ids"])
        inputs = {name: pin(value, device) for name, value in {**batch, "input_ids": ids}.items()}
        return inputs, pin(labels, device), int((labels != _NOT_ASKED).sum())

    def _save(self, step: int) -> None:
        self.pace.saved_at = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        state = {"losses": self.losses, "sums": self.sums, "stamp": self.stamp}
        save_checkpoint(
            self.checkpoint_dir,
            Checkpoint(
                len(self.losses),
                step,
                {**state, **self.steps.state()},
                copy_weights(self.network),
                self.steps.tensors(),
                None,
            ),
        )

    def _resume(self) -> int:
        """Go on from the newest checkpoint of the same stamp; the steps of its epoch are done."""

        def note(text: str) -> None:
            self.emit({"event": "note", "text": text})

        kept = load_newest(self.checkpoint_dir, note)
        if kept is None or kept.state["stamp"] != self.stamp:
            return 0
        load_weights(self.network, kept.model)
        self.steps.restore(kept.optimizer, kept.state)
        self.losses, self.sums = list(kept.state["losses"]), tuple(kept.state["sums"])
        note(
            f"goes on with masked tokens after epoch {kept.epoch} and "
            f"{count_noun(kept.step, 'step')}"
        )
        return kept.step
