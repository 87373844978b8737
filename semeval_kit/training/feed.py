"""What a device is fed: rows as tensors, ahead of a GPU, and as many as its memory takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from semeval_kit.errors import KitError
from semeval_kit.training.batches import Rows, pad_batch

_AHEAD = 4  # steps that are laid out while a GPU is at work
Given = TypeVar("Given")
Made = TypeVar("Made")
Inputs = dict[str, Tensor]


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
        blocks = None if self.blocks is None else self.blocks.to(device, non_blocking=True)
        return Gold(self.targets.to(device, non_blocking=True), self.weights, blocks)

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
            rows = (self.weights == weight).nonzero().flatten().to(logits.device)
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


def pad_rows(rows: Rows, numbers: list[int], pad_id: int, device: torch.device) -> Inputs:
    """The tokens of some rows as tensors, in memory that the device can fetch by itself."""
    batch = pad_batch(rows.tokens.take(numbers), pad_id)
    return {name: pin(value, device) for name, value in batch.items()}


def place(inputs: Inputs, device: torch.device) -> Inputs:
    """The tensors on the device, without waiting for them."""
    return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}


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
    except torch.OutOfMemoryError as error:
        if len(rows) == 1:
            raise KitError(
                "the GPU's memory does not suffice for one row. Lower max_length, take a smaller "
                "encoder, or train fewer folds at a time (--jobs)."
            ) from error
    torch.cuda.empty_cache()
    middle = len(rows) // 2
    return torch.cat([in_halves(part, compute) for part in (rows[:middle], rows[middle:])])
