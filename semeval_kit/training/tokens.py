"""Tokens: texts, pairs and contexts as token ids, and what is cut of long ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.plurals import count_noun

_CHUNK = 10_000  # texts that a tokenizer gets at once: it takes kilobytes for each


class Ragged(Sequence[list[int]]):
    """Rows of small integers in one array: a list of lists takes ten times the memory."""

    def __init__(self, values: NDArray[np.int32], ends: NDArray[np.int64]) -> None:
        """Hold all values, one row after the other, and where each row ends."""
        self.values, self.ends = values, ends

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Ragged:
        """Pack rows."""
        rows = list(rows)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        values = np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum()))
        return cls(values, np.cumsum(lengths))

    @classmethod
    def join(cls, parts: Sequence[Ragged]) -> Ragged:
        """All rows of the parts."""
        lengths = [part.lengths for part in parts]
        values = [part.values for part in parts]
        if not parts:
            return cls.of([])
        return cls(np.concatenate(values), np.cumsum(np.concatenate(lengths)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Values of each row `(n_rows,)`."""
        return np.diff(self.ends, prepend=0)

    def take(self, rows: Sequence[int]) -> Ragged:
        """The rows that are named, in that order."""
        numbers = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[numbers]
        ends = np.cumsum(lengths)
        # Of each value that is kept: its place in its row, after where that row begins.
        places = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
        return Ragged(self.values[places + np.repeat(self.ends[numbers] - lengths, lengths)], ends)

    def fill(self, cells: NDArray[np.int64]) -> None:
        """Write each row from the left into its row of `(n_rows, n_columns)`."""
        cells[np.arange(cells.shape[1]) < self.lengths[:, None]] = self.values

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        end = int(self.ends[row])
        return self.values[end - int(self.lengths[row]) : end].tolist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, or of pairs.

    Attributes:
        ids: of each row, special tokens included.
        types: 1 for each token of a second text, where encoder and rows have such; else empty.
        seconds: the ids of each row's second text, where pairs are encoded apart; else empty.
    """

    ids: Ragged
    types: Ragged = field(default_factory=lambda: Ragged.of([]))
    seconds: Ragged = field(default_factory=lambda: Ragged.of([]))

    @classmethod
    def of(cls, ids: Iterable[Sequence[int]], types: Iterable[Sequence[int]] = ()) -> Tokens:
        """Pack rows of ids, and of types."""
        return cls(Ragged.of(ids), Ragged.of(types))

    @classmethod
    def join(cls, parts: Sequence[Tokens]) -> Tokens:
        """All rows of the parts, of which all or none are pairs apart."""
        types = [part.types for part in parts]
        if any(map(len, types)):  # of a part without a second text that has any token
            types = [part.types if len(part.types) else part.zeros() for part in parts]
        return cls(
            Ragged.join([part.ids for part in parts]),
            Ragged.join(types),
            Ragged.join([part.seconds for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row; of a pair apart, of the longer text."""
        if not len(self.seconds):
            return list(map(int, self.ids.lengths))
        return list(map(int, np.maximum(self.ids.lengths, self.seconds.lengths)))

    def take(self, rows: Iterable[int]) -> Tokens:
        """The rows that are named, in that order."""
        rows = list(rows)
        parts = (self.ids, self.types, self.seconds)
        return Tokens(*(part.take(rows) if len(part) else part for part in parts))

    def zeros(self) -> Ragged:
        """Types of tokens that have none."""
        return Ragged(np.zeros_like(self.ids.values), self.ids.ends)


def limit_tokens(tokenizer: Any, max_length: int) -> int:
    """Tokens of a row at most: an encoder may read less than a recipe asks for."""
    return min(max_length, int(tokenizer.model_max_length))


def encode_texts(
    tokenizer: Any,
    texts: Sequence[str],
    max_length: int,
    *,
    pairs: Sequence[str] = (),
    contexts: Sequence[str] = (),
    apart: bool = False,
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
        apart: whether both texts of a pair are encoded on their own, each of `max_length` tokens;
            the context is then read beside the first.
    """
    limit = limit_tokens(tokenizer, max_length)
    parts = []
    for start in range(0, len(texts), _CHUNK):
        one, two, beside = (rows[start : start + _CHUNK] for rows in (texts, pairs, contexts))
        if apart:
            first = _encode(tokenizer, (one, (), beside), limit)
            second = _encode(tokenizer, (two, (), ()), limit)
            parts.append(Tokens(first.ids, first.types, second.ids))
        else:
            parts.append(_encode(tokenizer, (one, two, beside), limit))
    return Tokens.join(parts)


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
        context = count_noun(self.n_context_cut, "loses some context", "lose some context")
        rows = f"of {count_noun(self.n_rows, 'row')}"
        return (
            f"{count_noun(self.n_cut, f'{rows} is', f'{rows} are')} longer than "
            f"{count_noun(self.limit, 'token')} and cut"
            f"{f', {context}' if self.n_context_cut else ''}; the longest has {self.longest}"
        )


def count_cut_rows(
    tokenizer: Any, examples: Examples, max_length: int, *, apart: bool = False
) -> CutRows:
    """Count what is cut from rows by `encode_texts`, which says what the options mean."""
    limit = limit_tokens(tokenizer, max_length)
    together = () if apart else examples.pairs
    special = tokenizer.num_special_tokens_to_add(pair=bool(together or examples.contexts))
    parts = [_count(tokenizer, texts) for texts in (examples.texts, together) if texts]
    lengths = [special + sum(row) for row in zip(*parts, strict=True)]
    beside = _count(tokenizer, examples.contexts) if examples.contexts else [0] * len(lengths)
    whole = [a + b for a, b in zip(lengths, beside, strict=True)]
    seconds = [0] * len(lengths)
    if apart and examples.pairs:
        alone = tokenizer.num_special_tokens_to_add(pair=False)
        seconds = [alone + n for n in _count(tokenizer, examples.pairs)]
    # As in encode_texts: a token is kept free at the seam of second text and context.
    room = limit - (1 if examples.contexts else 0)
    return CutRows(
        n_rows=len(lengths),
        limit=limit,
        longest=max((*whole, *seconds), default=0),
        n_cut=sum(max(both) > limit for both in zip(lengths, seconds, strict=True)),
        n_context_cut=sum(b > 0 and a + b > room for a, b in zip(lengths, beside, strict=True)),
    )


def _encode(
    tokenizer: Any, inputs: tuple[Sequence[str], Sequence[str], Sequence[str]], limit: int
) -> Tokens:
    texts, pairs, contexts = inputs
    if contexts:
        pairs = _add_contexts(tokenizer, inputs, limit)
    options = {"truncation": True, "max_length": limit, "padding": False}
    if not pairs:
        return Tokens.of(tokenizer(list(texts), **options)["input_ids"])
    encoded = tokenizer(list(texts), list(pairs), return_token_type_ids=True, **options)
    types = encoded["token_type_ids"]
    return Tokens.of(encoded["input_ids"], types if any(map(any, types)) else ())


def _count(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Tokens of each text, without special ones."""
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
    parts = [_count(tokenizer, part) for part in (texts, pairs) if part]
    lengths = [sum(row) for row in zip(*parts, strict=True)]
    encoded = tokenizer(
        list(contexts), add_special_tokens=False, verbose=False, return_offsets_mapping=True
    )
    seconds = []
    for row, context in enumerate(contexts):
        ends = [end for _, end in encoded["offset_mapping"][row]]
        room = max(0, limit - taken - lengths[row])
        cut = context if room >= len(ends) else context[: ends[room - 1]] if room else ""
        pair = pairs[row] if pairs else ""
        seconds.append(f"{pair} {cut}".strip() if cut else pair)
    return seconds
