"""Batches: rows of like length together, in an order that (seed, fold, epoch) decides alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
_POOL = 50  # batches that are sorted by length together: more saves padding, fewer mixes better


@dataclass(frozen=True)
class Rows:
    """Tokenised rows with targets.

    Attributes:
        names: what a person calls each row (its id).
        token_ids: one list per row.
        targets: `(n_examples, n_targets)`, NaN where not annotated.
    """

    names: tuple[str, ...]
    token_ids: list[list[int]]
    targets: Array

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(ids) for ids in self.token_ids]


def encode_texts(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Turn texts into token ids, cut to `max_length` tokens with the special ones included."""
    if not texts:
        return []
    limit = min(max_length, int(tokenizer.model_max_length))
    encoded = tokenizer(list(texts), truncation=True, max_length=limit, padding=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


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


def pad_batch(token_ids: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """Pad token ids on the right to the longest of the batch.

    Returns:
        `input_ids` and `attention_mask`, each `(n_texts, n_tokens)` of integers.
    """
    width = max(len(ids) for ids in token_ids)
    input_ids = torch.full((len(token_ids), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(token_ids), width), dtype=torch.long)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": mask}
