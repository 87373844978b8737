"""Probabilities from a finished run's models: what `pipeline()` would say, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

from semeval_kit.errors import KitError
from semeval_kit.run.directory import Probs, Run
from semeval_kit.training.batches import encode_texts, pad_batch, plain_batches
from semeval_kit.training.checkpoint import find_fault
from semeval_kit.training.measures import to_probs

Array = NDArray[np.float64]
_BATCH = 64


class FoldModel:
    """One fold's tokenizer and model, in fp32 and evaluation mode."""

    def __init__(self, tokenizer: Any, model: Any, exclusive: bool, max_length: int) -> None:
        """Hold what `load_fold` found; `exclusive` means softmax instead of sigmoid."""
        self.tokenizer, self.model = tokenizer, model
        self.exclusive, self.max_length = exclusive, max_length

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        labels: dict[int, str] = self.model.config.id2label
        return tuple(labels[index] for index in range(len(labels)))

    def probs(self, texts: Sequence[str], tell: Callable[[int], None] | None = None) -> Array:
        """Return probabilities `(n_texts, n_targets)`.

        Args:
            texts: any number; each is cut to the run's `max_length` tokens.
            tell: is told after each batch how many texts are done.
        """
        return self.probs_of_tokens(encode_texts(self.tokenizer, texts, self.max_length), tell)

    @torch.no_grad()
    def probs_of_tokens(
        self, token_ids: list[list[int]], tell: Callable[[int], None] | None = None
    ) -> Array:
        """Return probabilities `(n_texts, n_targets)` of tokenised texts."""
        logits = np.empty((len(token_ids), len(self.target_names)), dtype=np.float64)
        pad_id = int(self.tokenizer.pad_token_id or 0)
        done = 0
        for rows in plain_batches([len(ids) for ids in token_ids], _BATCH):
            batch = pad_batch([token_ids[row] for row in rows], pad_id)
            batch = {key: value.to(self.model.device) for key, value in batch.items()}
            logits[rows] = self.model(**batch).logits.float().cpu().numpy()
            done += len(rows)
            if tell is not None:
                tell(done)
        return to_probs(logits, self.exclusive)


def load_fold(run: Run, fold: int) -> FoldModel:
    """Load a finished fold's model onto the fastest device there is.

    Raises:
        KitError: the fold is not finished, or a file of its model is missing or damaged.
    """
    run.read_done(fold)
    return load_model_dir(run.model_dir(fold), int(run.recipe["max_length"]))


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
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "right"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    exclusive = model.config.problem_type == "single_label_classification"
    return FoldModel(tokenizer, model.to(device).eval(), exclusive, max_length)


def predict_texts(run: Run, texts: Sequence[str], folds: Sequence[int] | None = None) -> Probs:
    """Mean probabilities of texts over the folds of a run.

    Args:
        run: a trained run.
        texts: any number.
        folds: which models; None for all.

    Returns:
        Probabilities with row numbers (from 1) as ids and the run's first language.
    """
    chosen = range(run.n_folds) if folds is None else folds
    total: Array | None = None
    names: tuple[str, ...] = ()
    for fold in chosen:
        model = load_fold(run, fold)
        values = model.probs(texts)
        names = model.target_names
        total = values if total is None else total + values
    if total is None:
        raise KitError("no fold is named; give at least one.")
    return Probs(
        ids=tuple(str(row) for row in range(1, len(texts) + 1)),
        languages=(run.languages[0],) * len(texts),
        target_names=names,
        values=total / len(chosen),
    )
