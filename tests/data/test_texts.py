"""Which texts occur twice."""

from __future__ import annotations

import numpy as np

from semeval_kit.data.examples import Examples
from semeval_kit.data.texts import find_duplicates, find_overlap, text_keys


def examples(texts: list[str], labels: list[list[float]], language: str = "eng") -> Examples:
    return Examples(
        ids=tuple(f"{language}_{i}" for i in range(len(texts))),
        texts=tuple(texts),
        languages=(language,) * len(texts),
        label_names=("anger", "joy"),
        labels=np.array(labels, dtype=np.float64).reshape(len(texts), 2),
        notes=(),
    )


def test_text_keys_fold_case_width_and_blanks() -> None:
    rows = examples(["  Straße\t\u00a0ＯＫ \n", "ﬁne", "don't"], [[0, 0]] * 3)
    assert text_keys(rows) == [("eng", "strasse ok"), ("eng", "fine"), ("eng", "don't")]


def test_find_duplicates_marks_the_conflicting_ones() -> None:
    rows = examples(
        ["Hello  there", "rain", "hello there", "RAIN", "alone", "rain"],
        [[0, 1], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0]],
    )
    groups = find_duplicates(rows)
    assert [(group.rows, group.conflicting) for group in groups] == [
        ((0, 2), False),
        ((1, 3, 5), True),
    ]


def test_a_label_that_one_row_lacks_is_no_conflict() -> None:
    nan = float("nan")
    rows = examples(["rain", "rain"], [[1, nan], [1, 0]])
    assert [group.conflicting for group in find_duplicates(rows)] == [False]
    both = examples(["rain", "rain"], [[nan, nan], [nan, nan]])
    assert [group.conflicting for group in find_duplicates(both)] == [False]


def test_find_overlap_counts_rows_of_the_second() -> None:
    train = examples(["Snow falls", "rain", "RAIN"], [[0, 0]] * 3)
    test = examples(["rain", "sun", "snow  falls", "rain"], [[0, 0]] * 4)
    overlap = find_overlap(train, test)
    assert overlap.rows == ((1, 0), (0, 2), (1, 3))
    assert (overlap.n_verbatim, overlap.n_second) == (2, 4)


def test_texts_of_other_languages_do_not_count() -> None:
    train = examples(["rain"], [[0, 0]], "eng")
    test = Examples.concat(
        [examples(["rain"], [[0, 0]], "pcm"), examples(["rain"], [[0, 0]], "eng")]
    )
    overlap = find_overlap(train, test)
    assert overlap.rows == ((0, 1),)
    assert overlap.n_second == 1
