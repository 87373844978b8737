"""Probabilities from a finished run's models, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoTokenizer

from semeval_kit.data.examples import Examples
from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.training.batches import Tokens, encode_texts, pad_batch, plain_batches
from semeval_kit.training.checkpoint import find_fault
from semeval_kit.training.encoder import load_model
from semeval_kit.training.feed import in_halves
from semeval_kit.training.head import Classifier
from semeval_kit.training.targets import find_reversal

Array = NDArray[np.float64]
_BATCH = 64


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
        tokenizer, length, apart = self.tokenizer, self.max_length, self.classifier.apart
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


def load_model_dir(folder: Path, max_length: int, dtype: torch.dtype = torch.float32) -> FoldModel:
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
    return FoldModel(tokenizer, load_model(folder, dtype).to(device), max_length)
