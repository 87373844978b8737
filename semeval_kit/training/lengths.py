"""How many tokens rows have, and how many of them an encoder does not get to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semeval_kit.data.examples import Examples


@dataclass(frozen=True)
class CutRows:
    """What is cut from some rows at a number of tokens, special ones included."""

    n_rows: int
    limit: int
    longest: int
    """Tokens of the longest row, its context included."""
    n_cut: int
    """Rows that lose some of their text or second text."""
    n_context_cut: int
    """Rows that lose some of their context, or all of it."""

    def describe(self) -> str:
        """Say it in one line."""
        context = f", {self.n_context_cut} lose some of their context" if self.n_context_cut else ""
        return (
            f"{self.n_cut} of {self.n_rows} rows are longer than {self.limit} tokens and cut"
            f"{context}; the longest has {self.longest}"
        )


def count_cut_rows(tokenizer: Any, examples: Examples, max_length: int) -> CutRows:
    """Count what is cut from rows by `batches.encode_texts`.

    Args:
        tokenizer: of transformers.
        examples: texts, with their pairs and contexts if there are some.
        max_length: tokens per row; less where the encoder takes less.
    """
    limit = min(max_length, int(tokenizer.model_max_length))
    double = bool(examples.pairs or examples.contexts)
    special = tokenizer.num_special_tokens_to_add(pair=double)
    parts = [_count(tokenizer, texts) for texts in (examples.texts, examples.pairs) if texts]
    own = [special + sum(row) for row in zip(*parts, strict=True)]
    beside = _count(tokenizer, examples.contexts) if examples.contexts else [0] * len(own)
    whole = [a + b for a, b in zip(own, beside, strict=True)]
    # As in encode_texts: a token is kept free at the seam of second text and context.
    room = limit - (1 if examples.contexts else 0)
    return CutRows(
        n_rows=len(own),
        limit=limit,
        longest=max(whole, default=0),
        n_cut=sum(length > limit for length in own),
        n_context_cut=sum(b > 0 and a + b > room for a, b in zip(own, beside, strict=True)),
    )


def _count(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]
