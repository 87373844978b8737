"""A text as a model reads it: its pieces, and its probabilities when some of them are masked."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from semeval_kit.decision.oof import FloatArray, IntArray
from semeval_kit.training.tokens import limit_tokens

Span = tuple[int, int]
# Of one forward pass: rows, and tokens of all rows.
_MOST_ROWS, _MOST_TOKENS = 64, 8192


@dataclass(frozen=True)
class Pieces:
    """A text as a model reads it.

    Attributes:
        ids: token ids `(n_ids,)` with the special tokens around them, cut to the model's length.
        places: where in `ids` the text's own tokens stand, `(n_tokens,)`.
        owners: for each of these tokens the piece it belongs to, `(n_tokens,)`.
        bounds: where each piece begins, and where the last one ends, `(n_pieces + 1,)`; each piece
            takes the blanks after it, so the pieces join to `text[:bounds[-1]]`.
        cut: whether the model does not read the text to its end.
    """

    text: str
    ids: IntArray
    places: IntArray
    owners: IntArray
    bounds: tuple[int, ...]
    cut: bool

    @property
    def strings(self) -> tuple[str, ...]:
        """The pieces."""
        return tuple(
            self.text[begin:end] for begin, end in zip(self.bounds, self.bounds[1:], strict=False)
        )

    @property
    def rest(self) -> str:
        """What the model does not read, or only blanks."""
        return self.text[self.bounds[-1] :]

    @property
    def continued(self) -> tuple[bool, ...]:
        """For each piece whether it goes on with the word of the piece before it."""
        return tuple(_continues(self.text, begin) for begin in self.bounds[:-1])

    def sum_pieces(self, values: FloatArray) -> FloatArray:
        """Add up values of tokens `(n_tokens, C)` to values of pieces `(n_pieces, C)`."""
        total = np.zeros((len(self.bounds) - 1, values.shape[1]))
        np.add.at(total, self.owners, values)
        return total


def cut_pieces(tokenizer: Any, text: str, max_length: int) -> Pieces:
    """Cut a text into the pieces of a transformers tokenizer.

    Tokens that share a character (the bytes of an emoji) or that stand for none (a lone word-start
    mark) make one piece with their neighbour, so a piece is never empty.
    """
    max_length = limit_tokens(tokenizer, max_length)
    fast = bool(getattr(tokenizer, "is_fast", False))
    coded = tokenizer(
        text,
        truncation=True,
        max_length=max_length,
        return_special_tokens_mask=True,
        return_offsets_mapping=fast,
        verbose=False,
    )
    ids = np.array(coded["input_ids"], dtype=np.int64)
    places = np.flatnonzero(np.array(coded["special_tokens_mask"], dtype=np.int64) == 0)
    if fast:
        spans = [tuple(coded["offset_mapping"][place]) for place in places]
    else:
        spans = _align(text, tokenizer.convert_ids_to_tokens([int(ids[p]) for p in places]))
    whole = len(ids) < max_length or len(tokenizer(text, verbose=False)["input_ids"]) <= max_length
    owners, bounds = _join_spans(text, spans, cut=not whole)
    return Pieces(text, ids, places, owners, bounds, cut=not whole)


class TextModel(Protocol):
    """A model in evaluation mode and its tokenizer: what `training.fold.FoldModel` is."""

    tokenizer: Any
    classifier: Any  # the torch module that holds the weights

    @property
    def embeddings(self) -> Any:
        """The layer that turns token ids into vectors."""
        ...

    def forward_probs(self, input_ids: Any) -> Any:
        """Probabilities `(n, C)` in float64 of token ids `(n, n_ids)` without padding."""
        ...


class MaskedText:
    """Probabilities of one text with some of its tokens replaced, as a function of their ids."""

    def __init__(
        self, models: Sequence[TextModel], pieces: Pieces, tell: Callable[[int], object]
    ) -> None:
        self.models, self.pieces, self.tell = models, pieces, tell
        self.mask_id = find_mask(models[0].tokenizer)

    def __call__(self, rows: IntArray) -> FloatArray:
        """Map token ids `(n, n_tokens)` to probabilities `(n, C)`."""
        import torch

        ids = np.repeat(self.pieces.ids[None], len(rows), axis=0)
        ids[:, self.pieces.places] = rows
        means, size = [], count_rows(ids.shape[1])
        with torch.no_grad():
            for begin in range(0, len(ids), size):
                batch = torch.from_numpy(ids[begin : begin + size])
                parts = [model.forward_probs(batch).cpu() for model in self.models]
                means.append(torch.stack(parts).mean(dim=0).numpy())
                self.tell(len(batch) * len(self.models))
        return np.concatenate(means)


def count_rows(n_tokens: int, most_tokens: int = _MOST_TOKENS) -> int:
    """Texts of so many tokens that fit one forward pass of at most so many tokens."""
    return max(1, min(_MOST_ROWS, most_tokens // max(1, n_tokens)))


def find_mask(tokenizer: Any) -> int:
    """The id that stands for a token that is not there: the mask, or what comes nearest to it."""
    for name in ("mask_token_id", "unk_token_id", "pad_token_id", "eos_token_id"):
        token_id = getattr(tokenizer, name, None)
        if token_id is not None:
            return int(token_id)
    return 0


def _join_spans(text: str, spans: Sequence[Span], cut: bool) -> tuple[IntArray, tuple[int, ...]]:
    """The piece of each token, and the bounds of the pieces."""
    if not spans:
        return np.zeros(0, dtype=np.int64), (0,)
    # 0: none of the tokens was found in the text, so nobody knows where it is cut.
    end = (max(stop for _, stop in spans) if cut else 0) or len(text)
    begins, furthest = [], 0
    for start, stop in spans:
        part = text[start:stop]
        furthest = max(furthest, start + len(part) - len(part.lstrip()))
        begins.append(furthest)
    starts = [0]
    for start in sorted({begin for begin in begins if 0 < begin < end}):
        # Blanks alone are no piece: they go with what follows, the last with what is before.
        if text[starts[-1] : start].strip():
            starts.append(start)
    if len(starts) > 1 and not text[starts[-1] : end].strip():
        starts.pop()
    owners = np.searchsorted(starts, begins, side="right") - 1
    used, owners = np.unique(owners, return_inverse=True)
    bounds = (0, *(starts[piece] for piece in used[1:]), end)
    return owners.astype(np.int64), bounds


def _align(text: str, tokens: Sequence[str]) -> list[Span]:
    """Spans of tokens whose tokenizer does not tell them: each is looked for after the last one."""
    spans, cursor, folded = [], 0, text.lower()
    for token in tokens:
        bare = token.removeprefix("##").replace("\u2581", "").replace("\u0120", "")
        bare = bare.removesuffix("</w>").lower()
        start = folded.find(bare, cursor, cursor + len(bare) + 20) if bare else -1
        if start >= 0 and len(folded) == len(text):
            spans.append((start, start + len(bare)))
            cursor = start + len(bare)
        else:
            spans.append((cursor, cursor))
    return spans


def _continues(text: str, begin: int) -> bool:
    if begin == 0:
        return False
    before, first = text[begin - 1], text[begin]
    # Chinese and Japanese are written without blanks: there every sign may begin a word.
    wide = unicodedata.east_asian_width(first) in "WF"
    return _is_letter(before) and _is_letter(first) and not wide


def _is_letter(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LMN"
