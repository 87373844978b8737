"""Texts as token ids: pairs, contexts, and what is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from semeval_kit.data.examples import Examples
from semeval_kit.training.batches import pad_batch
from semeval_kit.training.tokens import Tokens, count_cut_rows, encode_texts

pytestmark = pytest.mark.trains


def test_texts_are_cut_with_their_special_tokens(tiny_encoder: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    ids = encode_texts(tokenizer, ["bara " * 30, "bara"], 8).ids
    assert [len(row) for row in ids] == [8, 3]
    assert ids[0][0] == ids[1][0] == tokenizer.cls_token_id
    assert ids[0][-1] == ids[1][-1] == tokenizer.sep_token_id
    # The tokenizer knows no more than 48, whatever the recipe says.
    assert encode_texts(tokenizer, ["bara " * 90], 500).lengths == [48]
    assert encode_texts(tokenizer, [], 8) == Tokens.of([])


def words_of(tokenizer: Any, tokens: Tokens, row: int = 0) -> str:
    return str(tokenizer.decode(tokens.ids[row]))


def test_a_pair_is_the_encoders_own(tiny_encoder: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    tokens = encode_texts(tokenizer, ["bara dora", "lusi"], 48, pairs=["kitu", "mera bara"])
    assert words_of(tokenizer, tokens) == "[CLS] bara dora [SEP] kitu [SEP]"
    assert tokens.types == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]
    batch = pad_batch(tokens.take([0, 1]), pad_id=0)
    assert batch["token_type_ids"].tolist() == tokens.types
    # The longer of the two is cut, whichever it is.
    for pair in (("bara " * 20, "kitu"), ("kitu", "bara " * 20)):
        cut = encode_texts(tokenizer, pair[:1], 10, pairs=pair[1:])
        assert cut.lengths == [10]
        assert words_of(tokenizer, cut).count("bara") == 6
        assert words_of(tokenizer, cut).count("kitu") == 1


def test_a_context_is_cut_before_text_and_pair(tiny_encoder: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))

    def encode(text: str, pair: str, context: str, length: int) -> str:
        pairs = [pair] if pair else []
        tokens = encode_texts(tokenizer, [text], length, pairs=pairs, contexts=[context])
        assert tokens.lengths[0] <= length
        return words_of(tokenizer, tokens)

    long = "lusi " * 30
    whole = encode("bara dora", "kitu mera", "lusi nosi", 48)
    assert whole == "[CLS] bara dora [SEP] kitu mera lusi nosi [SEP]"
    assert encode("bara dora", "", "lusi nosi", 48) == "[CLS] bara dora [SEP] lusi nosi [SEP]"
    for length in (8, 10, 20):
        words = encode("bara dora", "kitu mera", long, length)
        assert words.startswith("[CLS] bara dora [SEP] kitu mera")
        assert words.count("lusi") == length - 8
    # Not even text and pair have room: they are cut as they would be without a context.
    alone = encode_texts(tokenizer, ["bara " * 9], 8, pairs=["kitu " * 9])
    assert encode("bara " * 9, "kitu " * 9, long, 8) == words_of(tokenizer, alone)


def test_texts_of_a_pair_apart_are_rows_of_their_own(tiny_encoder: Callable[[str], Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    texts, pairs = ["bara dora", "lusi"], ["kitu", "mera bara nosi"]
    tokens = encode_texts(tokenizer, texts, 48, pairs=pairs, apart=True)
    alone = [encode_texts(tokenizer, side, 48).ids for side in (texts, pairs)]
    assert (tokens.ids, tokens.seconds) == tuple(alone)
    assert tokens.lengths == [4, 5]
    batch = pad_batch(tokens, pad_id=9)
    assert batch["input_ids"].tolist() == [
        [[*alone[0][0], 9], [*alone[1][0], 9, 9]],
        [[*alone[0][1], 9, 9], alone[1][1]],
    ]
    assert batch["attention_mask"].sum(dim=-1).tolist() == [[4, 3], [3, 5]]
    beside = encode_texts(tokenizer, texts, 48, pairs=pairs, contexts=["nosi", ""], apart=True)
    assert words_of(tokenizer, beside) == "[CLS] bara dora [SEP] nosi [SEP]"
    assert beside.seconds == alone[1]
    assert pad_batch(beside, 0)["token_type_ids"].sum(dim=-1).tolist() == [[2, 0], [1, 0]]


def test_many_texts_are_as_few_at_a_time(
    tiny_encoder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are tokenised in parts, of which only some have a second text with tokens."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    texts = ["bara " * (n % 5 + 1) for n in range(23)]
    contexts = ["lusi" if n > 11 else "" for n in range(23)]
    for options in ({}, {"pairs": texts[::-1]}, {"contexts": contexts}):
        whole = encode_texts(tokenizer, texts, 48, **options)
        with monkeypatch.context() as patch:
            patch.setattr("semeval_kit.training.tokens._CHUNK", 4)
            assert encode_texts(tokenizer, texts, 48, **options) == whole
        rows = [5, 0, 22]
        assert whole.take(rows).ids == [whole.ids[row] for row in rows]


@pytest.fixture
def tokenizer(tiny_encoder: Callable[[str], Path]) -> object:
    return AutoTokenizer.from_pretrained(tiny_encoder("bert"))


def rows_of(texts: tuple[str, ...], **given: tuple[str, ...]) -> Examples:
    names = tuple(map(str, range(len(texts))))
    return Examples(names, texts, names, ("joy",), np.zeros((len(texts), 1)), **given)


def test_texts_are_counted_with_their_special_tokens(tokenizer: object) -> None:
    cut = count_cut_rows(tokenizer, rows_of(("bara dosi", "bara " * 9, "bara " * 8)), 10)
    assert (cut.n_cut, cut.longest, cut.n_context_cut, cut.limit) == (1, 11, 0, 10)
    assert cut.describe() == ("1 of 3 rows is longer than 10 tokens and cut; the longest has 11")


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


def test_pairs_apart_are_cut_as_they_are_encoded(tokenizer: object) -> None:
    texts = tuple("bara " * n for n in (2, 8, 13))
    pairs = tuple("dosi " * n for n in (2, 15, 2))
    contexts = ("kitu " * 5,) * 3
    cut = count_cut_rows(tokenizer, rows_of(texts, pairs=pairs, contexts=contexts), 16, apart=True)
    both = [
        encode_texts(tokenizer, texts, limit, pairs=pairs, contexts=contexts, apart=True)
        for limit in (48, 16)
    ]
    lost = [len(a) - len(b) for a, b in zip(both[0].ids, both[1].ids, strict=True)]
    assert cut.n_context_cut == sum(count > 0 for count in lost) == 2
    assert cut.n_cut == 1  # a second text of 15 tokens and two special ones
    assert cut.longest == max(both[0].lengths)
