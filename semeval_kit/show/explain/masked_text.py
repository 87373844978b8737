"""A text with some of its tokens masked, as a function that models answer with probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.explain.pieces import Pieces

_MOST_ROWS, _MOST_TOKENS = 64, 8192


class TextModel(Protocol):
    """A classifier in evaluation mode and its tokenizer, as transformers loads them."""

    tokenizer: Any
    model: Any


class MaskedText:
    """Probabilities of one text with some of its tokens replaced, as a function of their ids."""

    def __init__(
        self, models: Sequence[TextModel], pieces: Pieces, tell: Callable[[int], None]
    ) -> None:
        self.models, self.pieces, self.tell = models, pieces, tell
        self.mask_id = find_mask(models[0].tokenizer)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Map token ids `(n, n_tokens)` to probabilities `(n, C)`."""
        import torch

        ids = np.repeat(self.pieces.ids[None], len(rows), axis=0)
        ids[:, self.pieces.places] = rows
        found, size = [], count_rows(ids.shape[1])
        with torch.no_grad():
            for begin in range(0, len(ids), size):
                batch = torch.from_numpy(ids[begin : begin + size])
                parts = [run_model(m.model, batch.to(m.model.device)).cpu() for m in self.models]
                found.append(torch.stack(parts).mean(dim=0).numpy())
                self.tell(len(batch) * len(self.models))
        return np.concatenate(found)


def run_model(model: Any, ids: Any) -> Any:
    """Probabilities `(n, C)` in float64 of token ids `(n, n_ids)` without padding."""
    import torch

    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.double()
    if model.config.problem_type == "single_label_classification":
        return torch.softmax(logits, dim=-1)
    return torch.sigmoid(logits)


def count_rows(n_tokens: int, most_tokens: int = _MOST_TOKENS) -> int:
    """Texts of so many tokens that fit one forward pass of at most so many tokens."""
    return max(1, min(_MOST_ROWS, most_tokens // max(1, n_tokens)))


def find_mask(tokenizer: Any) -> int:
    """The id that stands for a token that is not there: the mask, or what comes nearest to it."""
    for name in ("mask_token_id", "unk_token_id", "pad_token_id", "eos_token_id"):
        found = getattr(tokenizer, name, None)
        if found is not None:
            return int(found)
    return 0
