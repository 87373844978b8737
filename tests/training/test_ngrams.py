"""N-grams: what counts as a term, and that stored features are the same features."""

from __future__ import annotations

import json

import numpy as np

from semeval_kit.training.linear import Ngrams

TEXTS = ["Caf\u00e9 now!", "cafe NOW", "caf\u00e9 later", "Cafe\u0301 later \U0001f600"]
TEXTS.append("\U0001f600")


def test_case_is_folded_and_accents_are_kept() -> None:
    terms = Ngrams.fit(TEXTS)[0].pack()[0]
    assert "caf\u00e9" in terms["word"]  # composed or not, it is one word
    assert "now" in terms["word"]
    assert "NOW" not in terms["word"]
    assert "cafe" not in terms["word"]  # it occurs in one text only
    assert "caf\u00e9 later" in terms["word"]
    assert "\U0001f600" in terms["word"]
    assert " caf\u00e9" in terms["char"]
    assert not [term for term in terms["char"] if " " in term.strip()]


def test_both_blocks_of_a_row_have_unit_length() -> None:
    features, matrix = Ngrams.fit(TEXTS)
    n_words = len(features.pack()[0]["word"])
    for block in (matrix[:, :n_words], matrix[:, n_words:]):
        np.testing.assert_allclose(np.sqrt(block.multiply(block).sum(axis=1)), 1.0)


def test_stored_features_are_the_same_features() -> None:
    features, matrix = Ngrams.fit(TEXTS)
    terms, weights = features.pack()
    again = Ngrams.unpack(json.loads(json.dumps(terms)), weights)
    assert (again.transform(TEXTS) != features.transform(TEXTS)).nnz == 0
    assert abs(again.transform(TEXTS) - matrix).max() < 1e-15
    assert again.transform(["\u0416"]).nnz == 1  # the blank around it


def test_texts_without_a_term_have_no_features() -> None:
    features, matrix = Ngrams.fit(["", " "])
    assert matrix.shape == (2, 0)
    assert features.transform(["word"]).shape == (1, 0)
