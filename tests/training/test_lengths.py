"""What is cut from rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from semeval_kit.data.examples import Examples
from semeval_kit.training.batches import count_cut_rows, encode_texts


@pytest.fixture
def tokenizer(tiny_encoder: Callable[[str], Path]) -> object:
    return AutoTokenizer.from_pretrained(tiny_encoder("bert"))


def rows_of(texts: tuple[str, ...], **given: tuple[str, ...]) -> Examples:
    names = tuple(map(str, range(len(texts))))
    return Examples(names, texts, names, ("joy",), np.zeros((len(texts), 1)), **given)


def test_texts_are_counted_with_their_special_tokens(tokenizer: object) -> None:
    cut = count_cut_rows(tokenizer, rows_of(("bara dosi", "bara " * 9, "bara " * 8)), 10)
    assert (cut.n_cut, cut.longest, cut.n_context_cut, cut.limit) == (1, 11, 0, 10)
    assert cut.describe() == ("1 of 3 rows are longer than 10 tokens and cut; the longest has 11")


def test_pairs_and_contexts_are_cut_as_they_are_encoded(tokenizer: object) -> None:
    texts = tuple("bara " * n for n in (2, 7, 13))
    pairs = ("dosi dosi",) * 3
    contexts = ("kitu " * 5,) * 3
    cut = count_cut_rows(tokenizer, rows_of(texts, pairs=pairs, contexts=contexts), 16)
    whole = encode_texts(tokenizer, texts, 48, pairs=pairs, contexts=contexts)
    short = encode_texts(tokenizer, texts, 16, pairs=pairs, contexts=contexts)
    lost = [len(a) - len(b) for a, b in zip(whole.ids, short.ids, strict=True)]
    assert cut.n_context_cut == sum(count > 0 for count in lost) == 2
    assert cut.n_cut == 1
    assert cut.longest == len(whole.ids[2])
