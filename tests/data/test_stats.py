"""Numbers that describe a split."""

from __future__ import annotations

import numpy as np
import pytest

from semeval_kit.data.examples import Examples
from semeval_kit.data.stats import describe_split

NAN = float("nan")


@pytest.fixture
def rows() -> Examples:
    return Examples(
        ids=("a", "b", "c", "d", "e"),
        texts=("one two", "three", "four five six", "seven", "acht neun"),
        languages=("eng", "eng", "eng", "eng", "deu"),
        label_names=("anger", "disgust", "joy"),
        labels=np.array(
            [[1, NAN, 1], [0, NAN, 0], [3, NAN, 0], [0, NAN, 2], [1, 1, 1]], dtype=np.float64
        ),
        notes=(),
    )


def test_counts_per_label_and_value(rows: Examples) -> None:
    stats = describe_split(rows, "eng", "train")
    assert stats.labels == ("anger", "joy")
    assert (stats.n_rows, stats.n_annotated, stats.n_neutral) == (4, 4, 1)
    assert stats.values == {"anger": {"0": 2, "1": 1, "3": 1}, "joy": {"0": 2, "1": 1, "2": 1}}
    assert stats.positives() == {"anger": 2, "joy": 2}
    assert stats.cooccurrence == ((2, 1), (1, 2))
    assert stats.mean_labels == 1.0


def test_lengths_in_words_and_characters(rows: Examples) -> None:
    stats = describe_split(rows, "eng", "train")
    assert stats.words.quantiles == pytest.approx((1.0, 1.0, 1.5, 2.85, 3.0))
    assert stats.words.mean == 1.75
    assert stats.characters.mean == (7 + 5 + 13 + 5) / 4


def test_a_split_without_labels_has_none() -> None:
    blank = Examples(("a",), ("text",), ("eng",), ("anger",), np.array([[NAN]]), ())
    stats = describe_split(blank, "eng", "test")
    assert stats.labels == ()
    assert (stats.n_rows, stats.n_annotated, stats.n_neutral, stats.mean_labels) == (1, 0, 0, 0.0)


def test_a_language_without_rows_is_empty(rows: Examples) -> None:
    stats = describe_split(rows, "swe", "dev")
    assert (stats.n_rows, stats.labels, stats.words.mean) == (0, (), 0.0)


def test_real_numbers_are_described_apart_from_labels() -> None:
    labels = np.array([[0.5, 1], [1.0, 0], [NAN, 1], [0.0, 0]])
    rows = Examples(("a", "b", "c", "d"), ("x",) * 4, ("eng",) * 4, ("score", "joy"), labels)
    stats = describe_split(rows, "eng", "train")
    assert stats.labels == ("joy",)
    assert stats.positives() == {"joy": 2}
    assert list(stats.numbers) == ["score"]
    assert stats.numbers["score"].mean == 0.5
    assert stats.numbers["score"].quantiles == pytest.approx((0, 0.05, 0.5, 0.95, 1))
    assert stats.n_annotated == 4
