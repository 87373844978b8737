"""One fold of an encoder: trained to its end, and predicted with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoTokenizer

from semeval_kit.data.examples import Examples
from semeval_kit.data.extra import ExtraRows, pair_keys
from semeval_kit.errors import KitError
from semeval_kit.files import remove_tree, sha256_file, write_json, write_kept
from semeval_kit.probs import Probs, write_probs
from semeval_kit.run.directory import Run
from semeval_kit.task.task import Task
from semeval_kit.training.batches import NO_BLOCKS, Rows, in_halves, pad_batch, plain_batches
from semeval_kit.training.checkpoint import find_fault, staged_dir
from semeval_kit.training.encoder import describe_model, load_model, load_tokenizer
from semeval_kit.training.head import Classifier
from semeval_kit.training.loop import FoldTrainer
from semeval_kit.training.machine import (
    choose_precision,
    find_device_type,
    fingerprint,
    peak_memory_mb,
)
from semeval_kit.training.masking import adapt_encoder
from semeval_kit.training.progress import Progress
from semeval_kit.training.recipe import Recipe, make_recipe
from semeval_kit.training.steps import Workplace, make_accelerator
from semeval_kit.training.targets import encode_gold, find_reversal, order_columns, read_targets
from semeval_kit.training.tokens import Tokens, encode_texts

Array = NDArray[np.float64]
Event = dict[str, Any]
_BATCH = 64
_CHECKED_ROWS = 16
_TOLERANCE = 1e-3
# What `score` watches while a fold trains, where it is not macro-F1 at 0.5: one of `measure`.
_WATCHED = {
    "micro_f1": "micro_f1",
    "weighted_f1": "weighted_f1",
    "accuracy": "subset_accuracy",
    "exact_match": "subset_accuracy",
    "pearson_r": "pearson_r",
    "spearman": "spearman",
    "within_sd": "spearman",
    "pearson": "pearson",
    "rmse": "rmse",
    "mae": "mae",
    "jensen_shannon": "val_loss",
}


def train_fold(run: Run, fold: int, emit: Callable[[Event], None]) -> FoldTrainer:
    """Train a fold to its end and write what it leaves: model, history, oof.csv, done.json.

    Returns:
        The trainer, for a caller that wants to say when it is torn down.

    Raises:
        KitError: the encoder cannot be used, or training fails.
    """
    started = time.monotonic()
    recipe = make_recipe(run.recipe, f"{run.recipe_file}")
    further, held_out_fold = divmod(fold, run.n_folds)
    recipe = recipe.model_copy(update={"seed": recipe.seed + further})
    targets = read_targets(run.learnt_task)
    tokenizer = load_tokenizer(recipe)
    rows = _split_rows(run, fold, tokenizer, recipe)
    precision = choose_precision(recipe.precision, find_device_type())
    accelerator = make_accelerator(precision, held_out_fold)
    device, world = accelerator.device.type, accelerator.num_processes
    stamp = {
        **fingerprint(torch.get_num_threads(), world, device, precision),
        "recipe_sha256": sha256_file(run.recipe_file),
        "folds_sha256": sha256_file(run.find_folds(further)),
    }
    place = Workplace(accelerator, stamp, emit)
    adapted, read = _adapt(run, fold, recipe, tokenizer, rows, place)
    trainer = FoldTrainer(
        *(recipe, targets, held_out_fold, int(tokenizer.pad_token_id or 0)),
        accelerator=accelerator,
        emit=emit,
        adapted=adapted,
    )
    progress = trainer.fit(
        rows.train,
        rows.valid,
        run.checkpoint_dir(fold),
        stamp,
        watched_metric(run.task),
        keep=lambda history: _write_history(run, fold, history),
    )
    plain = probs = trainer.predict(rows.valid)
    if rows.swapped is not None:
        probs = (plain + trainer.predict(rows.swapped)[:, find_reversal(run.task)]) / 2
    if accelerator.is_main_process:
        _save_model(run.model_dir(fold), trainer, tokenizer, rows.valid, plain)
        _write_history(run, fold, progress.history)
        facts = {
            **({"mlm": read} if read else {}),
            "process_seconds": round(time.monotonic() - started, 1),
            "threads": torch.get_num_threads(),
            **_describe_training(trainer, progress),
            **stamp,
        }
        _finish_fold(run, fold, rows, probs, facts)
    accelerator.wait_for_everyone()
    emit({"event": "done", "fold": fold, "best_epoch": progress.best_epoch})
    accelerator.end_training()
    return trainer


def watched_metric(task: Task) -> str:
    """Which column of the history stands for the task's score while a fold trains."""
    return _WATCHED.get(task.scoring.metrics[0], "macro_f1")


class FoldModel:
    """One fold's tokenizer and model, in evaluation mode."""

    def __init__(
        self,
        tokenizer: Any,
        classifier: Classifier,
        max_length: int,
        reversal: NDArray[np.int64] | None = None,
    ) -> None:
        """Hold what `load_fold` read; `reversal` `(n_targets,)` is of `targets.find_reversal`."""
        self.tokenizer, self.classifier, self.max_length = tokenizer, classifier, max_length
        self.reversal = reversal

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return self.classifier.targets.names

    @property
    def exclusive(self) -> bool:
        """Whether the outputs are one label's probabilities, which sum to 1."""
        return self.classifier.targets.exclusive

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        device: torch.device = self.classifier.network.device
        return device

    @property
    def embeddings(self) -> nn.Module:
        """The layer that turns token ids into vectors, for gradients."""
        layer: nn.Module = self.classifier.network.get_input_embeddings()
        return layer

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Return logits `(n_texts, n_columns)` of token ids `(n_texts, n_tokens)`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = None if token_type_ids is None else token_type_ids.to(self.device)
        logits: Tensor = self.classifier(input_ids.to(self.device), mask.to(self.device), types)
        return logits

    def forward_probs(self, input_ids: Tensor, **inputs: Tensor) -> Tensor:
        """Probabilities `(n_texts, n_targets)` in double precision of the inputs of `forward`.

        Gradients flow.
        """
        return self.classifier.targets.to_probs(self.forward(input_ids, **inputs))

    def probs(
        self,
        texts: Sequence[str],
        tell: Callable[[int], None] | None = None,
        *,
        pairs: Sequence[str] = (),
        contexts: Sequence[str] = (),
    ) -> Array:
        """Return probabilities `(n_texts, n_targets)`.

        Where the task says what a label becomes when text and pair are swapped, both directions are
        read and averaged, so that they agree.

        Each text is cut to the `max_length` of the run. `tell` is told after each batch how many
        texts are done.
        """
        tokenizer, length = self.tokenizer, self.max_length
        apart = self.classifier.reads == "apart"
        options: dict[str, Any] = {"contexts": contexts, "apart": apart}
        tokens = encode_texts(tokenizer, texts, length, pairs=pairs, **options)
        probs = self.probs_of_tokens(tokens, tell)
        if self.reversal is None or not pairs:
            return probs
        tokens = encode_texts(tokenizer, pairs, length, pairs=texts, **options)
        return (probs + self.probs_of_tokens(tokens)[:, self.reversal]) / 2

    def answer(self, examples: Examples, tell: Callable[[int], None] | None = None) -> Array:
        """Probabilities `(n_examples, n_targets)` of examples, see `probs`."""
        return self.probs(examples.texts, tell, pairs=examples.pairs, contexts=examples.contexts)

    @torch.no_grad()
    def probs_of_tokens(self, tokens: Tokens, tell: Callable[[int], None] | None = None) -> Array:
        """Return probabilities `(n_texts, n_targets)` of tokenised texts."""
        probs = np.empty((len(tokens), len(self.target_names)), dtype=np.float64)
        pad_id = int(self.tokenizer.pad_token_id or 0)
        done = 0

        def read(rows: list[int]) -> Tensor:
            return self.forward_probs(**pad_batch(tokens.take(rows), pad_id))

        for rows in plain_batches(tokens.lengths, _BATCH):
            probs[rows] = in_halves(rows, read).cpu().numpy()
            done += len(rows)
            if tell is not None:
                tell(done)
        return probs


def load_fold(run: Run, fold: int) -> FoldModel:
    """Load a finished fold's model onto the fastest device there is.

    Raises:
        KitError: the fold is not finished, or a file of its model is missing or damaged.
    """
    run.read_done(fold)
    model = load_model_dir(run.model_dir(fold), int(run.recipe["max_length"]))
    model.reversal = find_reversal(run.task)
    return model


def load_model_dir(folder: Path, max_length: int) -> FoldModel:
    """Load a model folder that a fold wrote, after checking every file against its manifest.

    Raises:
        KitError: a file is missing or damaged.
    """
    fault = find_fault(folder)
    if fault is not None:
        raise KitError(
            f"{folder}: {fault}. Remove the fold's folder and run `semeval-kit train` again."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return FoldModel(tokenizer, load_model(folder).to(device), max_length)


def _finish_fold(run: Run, fold: int, rows: _FoldRows, probs: NDArray[Any], facts: Event) -> None:
    """Write the out-of-fold probs `(n_held_out, n_targets)` and, last, that the fold is done."""
    judged, names = rows.held_out, read_targets(run.learnt_task).names
    write_probs(run.oof_file(fold), Probs(judged.ids, judged.languages, names, probs))
    done = {
        "fold": fold % run.n_folds,
        "n_train": len(run.read_folds()) - len(judged),
        **({"n_extra": rows.n_extra} if rows.n_extra else {}),
        "n_valid": len(judged),
        "oof_sha256": sha256_file(run.oof_file(fold)),
        **facts,
    }
    write_json(run.done_file(fold), done)
    remove_tree(run.checkpoint_dir(fold))


def _adapt(
    run: Run, fold: int, recipe: Recipe, tokenizer: Any, rows: _FoldRows, place: Workplace
) -> tuple[Path | None, Event]:
    """Where the encoder lies that has read the fold's texts, if it does, and what that came to."""
    if not recipe.mlm_epochs:
        return None, {}
    tokens, folder = rows.train.tokens, run.checkpoint_dir(fold) / "adapted"
    if recipe.transductive:  # then all texts that are at hand
        unlabelled = [_encode(tokenizer, examples, recipe) for examples in run.read_unlabelled()]
        tokens = Tokens.join([tokens, rows.valid.tokens, *unlabelled])
    return folder, adapt_encoder(recipe, fold % run.n_folds, tokenizer, tokens, folder, place)


@dataclass(frozen=True)
class _FoldRows:
    """What a fold learns from, and what it is judged on.

    Attributes:
        train: rows to learn from; with those that are swapped, where that says more.
        swapped: the held-out rows with text and pair swapped, where the task says what that means.
        held_out: the held-out rows as examples.
        n_extra: how many of those to learn from are not the task's own.
    """

    train: Rows
    valid: Rows
    swapped: Rows | None
    held_out: Examples
    n_extra: int


def _split_rows(run: Run, model: int, tokenizer: Any, recipe: Recipe) -> _FoldRows:
    examples = run.read_taught()
    gold = encode_gold(run.learnt_task, examples.labels)
    tokens = _encode(tokenizer, examples, recipe)
    rows = Rows(examples.ids, tokens, gold, blocks=_number_languages(examples, recipe))
    seed, fold = divmod(model, run.n_folds)
    fold_of = run.read_folds(seed)
    folds = np.array([fold_of[key] for key in examples.keys])
    learnt, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    train, valid, swapped = rows.take(learnt), rows.take(held_out), None
    reversal = find_reversal(run.task)
    texts, pairs = examples.texts, examples.pairs
    if reversal is not None and pairs:
        tokens = _encode(tokenizer, replace(examples, texts=pairs, pairs=texts), recipe)
        columns = np.concatenate([np.argsort(reversal), np.arange(len(reversal), gold.shape[1])])
        others = Rows(examples.ids, tokens, gold[:, columns], blocks=rows.blocks)
        # A row that is there both ways says so itself, and may be held out.
        there = set(zip(texts, pairs, strict=True))
        train += others.take([int(r) for r in learnt if (pairs[r], texts[r]) not in there])
        swapped = others.take(held_out)
    judged, n_own = examples.take(held_out), len(train.names)
    extra = run.read_extra()
    if extra is not None:
        train += _encode_extra(run, extra.without(set(pair_keys(judged))), tokenizer, recipe)
    return _FoldRows(train, valid, swapped, judged, len(train.names) - n_own)


def _encode(tokenizer: Any, examples: Examples, recipe: Recipe) -> Tokens:
    return encode_texts(
        tokenizer,
        examples.texts,
        recipe.max_length,
        pairs=examples.pairs,
        contexts=examples.contexts,
        apart=recipe.pairs == "apart",
    )


def _encode_extra(run: Run, extra: ExtraRows, tokenizer: Any, recipe: Recipe) -> Rows:
    examples = extra.examples
    return Rows(
        examples.ids,
        _encode(tokenizer, examples, recipe),
        order_columns(run.learnt_task, extra.targets),
        np.full(len(examples), recipe.extra_weight),
        _number_languages(examples, recipe, run.read_taught().languages),
    )


def _number_languages(
    examples: Examples, recipe: Recipe, order: Sequence[str] = ()
) -> NDArray[np.int64]:
    """The number of each row's language, where the recipe tells languages apart; else none."""
    if recipe.positive_weight_by == "all":
        return NO_BLOCKS
    number = {g: i for i, g in enumerate(dict.fromkeys((*order, *examples.languages)))}
    return np.array([number[g] for g in examples.languages], dtype=np.int64)


def _save_model(
    folder: Path, trainer: FoldTrainer, tokenizer: Any, valid: Rows, probs: np.ndarray
) -> None:
    """Save the model, and see that what comes back gives the probabilities that were measured."""
    remove_tree(folder)
    with staged_dir(folder) as staging:
        trainer.classifier.cpu().float().save(staging)
        tokenizer.save_pretrained(staging)
        rows = range(min(_CHECKED_ROWS, len(valid.names)))
        again = FoldModel(tokenizer, load_model(staging), trainer.recipe.max_length)
        again_probs = again.probs_of_tokens(valid.tokens.take(rows))
        worst = float(np.abs(again_probs - probs[: len(rows)]).max()) if rows else 0.0
        if worst > _TOLERANCE:
            raise KitError(
                f"{folder}: the saved model differs from the trained one by {worst:.2g} in a "
                "probability. Please report this with the encoder's name; --pooling cls avoids it."
            )


def _describe_training(trainer: FoldTrainer, progress: Progress) -> Event:
    """What done.json says of a finished training."""
    return {
        "encoder": trainer.recipe.encoder,
        "seed": trainer.recipe.seed,
        "best_epoch": progress.best_epoch,
        "epochs": len(progress.history),
        "seconds": round(sum(row["seconds"] for row in progress.history), 1),
        "peak_rss_mb": peak_memory_mb(),
        **describe_model(trainer.classifier, trainer.recipe),
    }


def _write_history(run: Run, fold: int, history: list[Event]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in history)
    write_kept(run.history_file(fold), lines)
