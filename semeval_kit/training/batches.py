"""Batches: rows of like length together, and what is cut of long ones."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semeval_kit.data.examples import Examples

Array = NDArray[np.float64]
NO_BLOCKS: NDArray[np.int64] = np.empty(0, dtype=np.int64)
_POOL = 50  # batches that are sorted by length together: more saves padding, fewer mixes better


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
    """Count what is cut from rows by `batches.encode_texts`."""
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


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, or of pairs.

    Attributes:
        ids: one list per row, special tokens included.
        types: 1 for each token of a second text, where encoder and rows have such; else empty.
    """

    ids: list[list[int]]
    types: list[list[int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(ids) for ids in self.ids]

    def take(self, rows: Iterable[int]) -> Tokens:
        """The rows that are named, in that order."""
        rows = list(rows)
        types = [self.types[row] for row in rows] if self.types else []
        return Tokens([self.ids[row] for row in rows], types)


@dataclass(frozen=True)
class Rows:
    """Tokenised rows with targets.

    Attributes:
        names: what a person calls each row (its id).
        tokens: of each row.
        targets: `(n_examples, n_columns)`, NaN where not annotated.
        weights: `(n_examples,)`, what a row counts for in the loss; empty: each as much.
        blocks: `(n_examples,)`, the number of a row's language, where each language has positive
            weights of its own; else empty.
    """

    names: tuple[str, ...]
    tokens: Tokens
    targets: Array
    weights: Array = field(default_factory=lambda: np.empty(0))
    blocks: NDArray[np.int64] = field(default_factory=lambda: NO_BLOCKS)

    def __add__(self, other: Rows) -> Rows:
        weights = self.weights
        if len(self.weights) or len(other.weights):
            both = (self, other)
            filled = [r.weights if len(r.weights) else np.ones(len(r.names)) for r in both]
            weights = np.concatenate(filled)
        return Rows(
            self.names + other.names,
            Tokens(self.tokens.ids + other.tokens.ids, self.tokens.types + other.tokens.types),
            np.concatenate([self.targets, other.targets]),
            weights,
            np.concatenate([self.blocks, other.blocks]),
        )

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Rows:
        """The rows that are named, in that order."""
        numbers = [int(row) for row in rows]
        return Rows(
            tuple(self.names[row] for row in numbers),
            self.tokens.take(numbers),
            self.targets[numbers],
            self.weights[numbers] if len(self.weights) else self.weights,
            self.blocks[numbers] if len(self.blocks) else self.blocks,
        )


def encode_texts(
    tokenizer: Any,
    texts: Sequence[str],
    max_length: int,
    *,
    pairs: Sequence[str] = (),
    contexts: Sequence[str] = (),
) -> Tokens:
    """Turn texts into token ids, cut to `max_length` tokens with the special ones included.

    Args:
        tokenizer: of transformers.
        texts: any number.
        max_length: tokens per row; less where the encoder takes less.
        pairs: the second text of each row, as the encoder's own pair; the longer of the two is
            cut first.
        contexts: what is read beside each row, after the text or the pair. It gets the tokens that
            are left over, so it is cut before text and pair are.
    """
    if not texts:
        return Tokens([])
    limit = min(max_length, int(tokenizer.model_max_length))
    if contexts:
        pairs = _add_contexts(tokenizer, (texts, pairs, contexts), limit)
    options = {"truncation": True, "max_length": limit, "padding": False}
    if not pairs:
        return Tokens(tokenizer(list(texts), **options)["input_ids"])
    encoded = tokenizer(list(texts), list(pairs), return_token_type_ids=True, **options)
    types = encoded["token_type_ids"]
    return Tokens(encoded["input_ids"], types if any(map(any, types)) else [])


def training_batches(lengths: Sequence[int], size: int, order_seed: str) -> list[list[int]]:
    """Cut all rows into shuffled batches of like length.

    Args:
        lengths: tokens of each row.
        size: rows per batch; the last batch of the last pool may be smaller.
        order_seed: the same text gives the same batches on every machine.

    Returns:
        Row numbers per batch; each row once.
    """
    draw = random.Random(order_seed)
    rows = list(range(len(lengths)))
    draw.shuffle(rows)
    batches = []
    for start in range(0, len(rows), size * _POOL):
        pool = sorted(rows[start : start + size * _POOL], key=lambda row: lengths[row])
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    draw.shuffle(batches)
    return batches


def plain_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Cut all rows into batches from the shortest to the longest, always the same."""
    rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def pad_batch(tokens: Tokens, pad_id: int) -> dict[str, Tensor]:
    """Pad tokens on the right to the longest of the batch.

    Returns:
        `input_ids` and `attention_mask`, each `(n_texts, n_tokens)` of integers; and
        `token_type_ids` where the tokens have types.
    """
    width = max(tokens.lengths)
    batch = {
        "input_ids": torch.full((len(tokens), width), pad_id, dtype=torch.long),
        "attention_mask": torch.zeros((len(tokens), width), dtype=torch.long),
    }
    for row, ids in enumerate(tokens.ids):
        batch["input_ids"][row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        batch["attention_mask"][row, : len(ids)] = 1
    if tokens.types:
        batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
        for row, types in enumerate(tokens.types):
            batch["token_type_ids"][row, : len(types)] = torch.tensor(types, dtype=torch.long)
    return batch


def _count(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    return [len(ids) for ids in encoded["input_ids"]]


def _add_contexts(
    tokenizer: Any, inputs: tuple[Sequence[str], Sequence[str], Sequence[str]], limit: int
) -> list[str]:
    """The second text of each row with as much of its context behind it as there is room for."""
    texts, pairs, contexts = inputs
    # One more: tokens at the seam of pair and context may be others than those of either.
    taken = tokenizer.num_special_tokens_to_add(pair=True) + 1
    plain = {"add_special_tokens": False, "verbose": False}
    lengths = [len(ids) for ids in tokenizer(list(texts), **plain)["input_ids"]]
    if pairs:
        beside = tokenizer(list(pairs), **plain)["input_ids"]
        lengths = [a + len(ids) for a, ids in zip(lengths, beside, strict=True)]
    encoded = tokenizer(list(contexts), return_offsets_mapping=True, **plain)
    seconds = []
    for row, context in enumerate(contexts):
        ends = [end for _, end in encoded["offset_mapping"][row]]
        room = max(0, limit - taken - lengths[row])
        cut = context if room >= len(ends) else context[: ends[room - 1]] if room else ""
        pair = pairs[row] if pairs else ""
        seconds.append(f"{pair} {cut}".strip() if cut else pair)
    return seconds
