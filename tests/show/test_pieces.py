from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from semeval_kit.show.explain.pieces import cut_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CORPUS = [
    "I am so happy today, unbelievable!",
    "the door was open and we heard nothing",
    "Привет мир как дела",
    "今天天气很好 我很开心",
    "مرحبا كيف حالك",
    "naïve café déjà vu",
] * 5
NAMES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
HOSTILE = (
    "I am unbelievably happy 😀👍🏽 today!",
    "  two  blanks\nand a line\t ",
    "",
    "   ",
    "今天 天气很好",
    "مرحبا كيف حالك",
    "½ ﬁne ① naïve",
    "<s> [SEP] </s> hi",
    "\x00\u202ehidden\u200b\x07",
    "e\u0301te\u0301 cafe\u0301",
    "🏳️‍🌈 flag",
    "a",
    "=1+1 </script><img src=x>",
)


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast  # not at the top: collecting imports that

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES)


def make_bytes_bpe() -> PreTrainedTokenizerFast:
    """As RoBERTa: bytes, with the blank before a word in its token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return wrap(tokenizer)


def make_unigram() -> PreTrainedTokenizerFast:
    """As XLM-RoBERTa's SentencePiece: NFKC, and a mark where a word begins."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return wrap(tokenizer)


def make_wordpiece() -> PreTrainedTokenizerFast:
    """As BERT uncased: lower case, without accents."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return wrap(tokenizer)


class SlowTokenizer:
    """Tells no offsets, as tokenizers written in Python do."""

    model_max_length = 512
    is_fast = False

    def __init__(self) -> None:
        self.fast = make_wordpiece()

    def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
        assert not options.pop("return_offsets_mapping", False)
        return self.fast(text, **options)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return self.fast.convert_ids_to_tokens(ids)


TOKENIZERS = {
    "bytes-bpe": make_bytes_bpe,
    "unigram": make_unigram,
    "wordpiece": make_wordpiece,
    "slow": SlowTokenizer,
}


@cache
def find_tokenizer(kind: str) -> Any:
    return TOKENIZERS[kind]()


@pytest.mark.parametrize("max_length", [64, 6])
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_pieces_join_to_the_text(kind: str, text: str, max_length: int):
    check_pieces(kind, text, max_length)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TOKENIZERS)), st.text(max_size=30), st.integers(3, 40))
def test_pieces_of_any_text_join_to_it(kind: str, text: str, max_length: int):
    check_pieces(kind, text, max_length)


def check_pieces(kind: str, text: str, max_length: int) -> None:
    pieces = cut_pieces(find_tokenizer(kind), text, max_length)
    assert "".join(pieces.strings) + pieces.rest == text
    assert all(pieces.strings) or not text
    assert all(part.strip() for part in pieces.strings) or not text.strip() or len(pieces.places)
    assert len(pieces.ids) <= max_length
    assert len(pieces.owners) == len(pieces.places)
    # Every piece has a token, in the order of the text.
    assert pieces.owners.tolist() == sorted(pieces.owners.tolist())
    assert sorted(set(pieces.owners.tolist())) == list(range(len(pieces.strings)))
    assert len(pieces.continued) == len(pieces.strings)
    if not pieces.cut and len(pieces.places):
        assert pieces.rest == ""


def test_words_of_wordpiece_are_split_where_its_tokens_are():
    pieces = cut_pieces(find_tokenizer("wordpiece"), "I am unbelievably happy!", 64)
    assert pieces.strings[:2] == ("I ", "am ")
    assert pieces.strings[-2:] == ("happy", "!")
    word = "".join(s for s in pieces.strings[2:-2])
    assert word == "unbelievably "
    assert pieces.continued == (
        False,
        False,
        False,
        *(True,) * (len(pieces.strings) - 5),
        False,
        False,
    )


def test_bytes_of_an_emoji_make_one_piece():
    pieces = cut_pieces(find_tokenizer("bytes-bpe"), "a 😀 b", 64)
    assert pieces.strings == ("a ", "😀 ", "b")
    assert len(pieces.places) > 3
    values = np.arange(len(pieces.places), dtype=float)[:, None]
    of_emoji = pieces.owners == 1
    assert of_emoji.sum() >= 4
    assert pieces.sum_pieces(values)[1, 0] == values[of_emoji].sum()


def test_chinese_signs_do_not_go_on_with_a_word():
    pieces = cut_pieces(find_tokenizer("wordpiece"), "今天 天气", 64)
    assert pieces.strings == ("今", "天 ", "天", "气")
    assert pieces.continued == (False,) * 4


def test_a_text_that_is_too_long_is_cut_and_its_rest_kept():
    pieces = cut_pieces(find_tokenizer("wordpiece"), "happy " * 30, 10)
    assert pieces.cut
    assert pieces.strings == ("happy ",) * 7 + ("happy",)
    assert pieces.rest == " " + "happy " * 22


def test_a_text_is_cut_where_the_encoder_ends_though_the_recipe_asks_for_more() -> None:
    """Else the encoder is asked for a position that it does not have."""
    short = make_bytes_bpe()
    short.model_max_length = 10
    pieces = cut_pieces(short, "happy " * 30, 64)
    assert len(pieces.ids) == 10
    assert pieces.rest


def test_a_special_token_in_a_text_belongs_to_the_text():
    pieces = cut_pieces(find_tokenizer("wordpiece"), "so </s> happy", 64)
    assert "".join(pieces.strings) == "so </s> happy"
    assert len(pieces.places) == len(pieces.ids) - 2
