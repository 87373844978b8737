"""Batches: rows of like length together, laid out as tensors ahead of a GPU.

As many are read at once as its memory takes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache
from numpy.typing import NDArray
from torch import Tensor

from semeval_kit.errors import KitError, is_gpu_out_of_memory
from semeval_kit.training.tokens import Tokens

Array = NDArray[np.float64]
NO_BLOCKS: NDArray[np.int64] = np.empty(0, dtype=np.int64)
_POOL = 50  # batches that are sorted by length together: more saves padding, fewer mixes better

_AHEAD = 4  # steps that are laid out while a GPU is at work
Given = TypeVar("Given")
Made = TypeVar("Made")
Inputs = dict[str, Tensor]


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
            Tokens.join([self.tokens, other.tokens]),
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


@dataclass(frozen=True, eq=False)
class Gold:
    """What rows are taught: targets `(n_texts, n_columns)`; per row its weight and language.

    Weights stay on the CPU: they say which rows go together.
    """

    targets: Tensor
    weights: Tensor | None
    blocks: Tensor | None

    @classmethod
    def of(cls, rows: Rows, numbers: list[int]) -> Gold:
        """The gold of some rows."""
        return cls(
            torch.tensor(rows.targets[numbers], dtype=torch.float32),
            torch.tensor(rows.weights[numbers], dtype=torch.float32) if len(rows.weights) else None,
            torch.tensor(rows.blocks[numbers]) if len(rows.blocks) else None,
        )

    def pinned(self, device: torch.device) -> Gold:
        """The same, where the device can fetch it by itself."""
        blocks = None if self.blocks is None else pin(self.blocks, device)
        return Gold(pin(self.targets, device), self.weights, blocks)

    def on(self, device: torch.device) -> Gold:
        """The same on the device."""
        blocks = None if self.blocks is None else send(self.blocks, device)
        return Gold(send(self.targets, device), self.weights, blocks)

    def split(self, logits: Tensor) -> Iterator[tuple[float, Tensor, Gold]]:
        """The rows that weigh alike together: their weight, their logits, their gold.

        Args:
            logits: of each row, or several, one block of rows after the other.
        """
        if self.weights is None:
            yield 1.0, logits, self
            return
        copies = logits.view(-1, len(self.targets), logits.shape[1])
        for weight in sorted(set(self.weights.tolist())):
            rows = (self.weights == weight).nonzero().flatten()
            rows = send(pin(rows, logits.device), logits.device)
            blocks = None if self.blocks is None else self.blocks[rows]
            yield weight, copies[:, rows].flatten(0, 1), Gold(self.targets[rows], None, blocks)


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Rows that are read at once: their numbers, their tokens, and what they teach."""

    rows: list[int]
    inputs: Inputs
    gold: Gold

    @classmethod
    def of(cls, rows: Rows, numbers: list[int], pad_id: int, device: torch.device) -> MicroBatch:
        """Lay out some rows, in memory that the device can fetch by itself."""
        gold = Gold.of(rows, numbers).pinned(device)
        return cls(numbers, pad_rows(rows, numbers, pad_id, device), gold)


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
        `input_ids` and `attention_mask`, each `(n_texts, n_tokens)` of integers, and
        `token_type_ids` where the tokens have types; of pairs apart `(n_pairs, 2, n_tokens)`.
    """
    width = max(tokens.lengths)
    sides = [(tokens.ids, tokens.types if len(tokens.types) else None)]
    if len(tokens.seconds):
        sides.append((tokens.seconds, None))
    shape = (len(sides), len(tokens), width)
    ids, mask = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    types = np.zeros_like(mask)
    for side, (texts, kinds) in enumerate(sides):
        texts.fill(ids[side])
        mask[side] = np.arange(width) < texts.lengths[:, None]
        if kinds is not None:
            kinds.fill(types[side])
    batch = {"input_ids": ids, "attention_mask": mask}
    if len(tokens.types):
        batch["token_type_ids"] = types
    return {
        name: torch.from_numpy(values[0] if len(sides) == 1 else values.swapaxes(0, 1).copy())
        for name, values in batch.items()
    }


def pad_rows(rows: Rows, numbers: list[int], pad_id: int, device: torch.device) -> Inputs:
    """The tokens of some rows as tensors, in memory that the device can fetch by itself."""
    batch = pad_batch(rows.tokens.take(numbers), pad_id)
    return {name: pin(value, device) for name, value in batch.items()}


def place(inputs: Inputs, device: torch.device) -> Inputs:
    """The tensors on the device, see `send`."""
    return {name: send(value, device) for name, value in inputs.items()}


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; nobody waits for a CUDA device that fetches it.

    CUDA keeps what it fetches alive until it has it. MPS does not: without waiting it may read
    memory that was given back, and compute with whatever lies there
    (https://github.com/pytorch/pytorch/issues/189690).
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


def pin(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor where a GPU can fetch it by itself."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def cut(rows: list[int], most: int) -> list[list[int]]:
    """The rows in parts of at most so many."""
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def lay_out_ahead(
    given: Iterable[Given], lay_out: Callable[[Given], Made], device: torch.device
) -> Iterator[Made]:
    """What `lay_out` makes of each, in order: for a GPU by a thread that is some steps ahead."""
    if device.type == "cpu":
        yield from map(lay_out, given)
        return
    thread = ThreadPoolExecutor(1)
    try:
        coming: deque[Future[Made]] = deque()
        for each in given:
            coming.append(thread.submit(lay_out, each))
            if len(coming) > _AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def in_halves(rows: list[int], compute: Callable[[list[int]], Tensor]) -> Tensor:
    """What `compute` gives of rows; of each half alone where the GPU's memory does not suffice.

    Raises:
        KitError: it does not suffice for one row.
    """
    try:
        return compute(rows)
    except RuntimeError as error:
        if not is_gpu_out_of_memory(error):
            raise
        if len(rows) == 1:
            raise KitError(
                "the GPU's memory does not suffice for one row. Lower max_length, take a smaller "
                "encoder, or train fewer folds at a time (--jobs)."
            ) from error
    clear_device_cache(garbage_collection=True)
    middle = len(rows) // 2
    return torch.cat([in_halves(part, compute) for part in (rows[:middle], rows[middle:])])
