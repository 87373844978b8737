from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from semeval_kit.show.predictions import (
    Prediction,
    Vocabulary,
    fit_text,
    predict_items,
    spell_predictions,
)

WORDS = Vocabulary("multilabel", ("anger", "fear"), ("anger", "fear"))
LEVELS = Vocabulary("intensity", ("anger>=1", "anger>=2", "joy>=1", "joy>=2"), ("anger", "joy"))
TEXTS = (
    '=HYPERLINK("http://localhost:9/x")',
    "-1 and +2 @me",
    "a\u2028b\u0085c\x1b[31m\u202e \x00 😀",
    'plain, with "quotes" and\na line',
    "",
    "今" * 60,
)


def make(text: str, probs: tuple[float, ...] = (0.25, 0.75), preds: tuple[int, ...] = (0, 1)):
    if not text.strip():
        return Prediction("9", text, None, None)
    return Prediction("9", text, np.array(probs), np.array(preds))


def spell(format_: str, *texts: str, width: int = 60) -> list[str]:
    return list(spell_predictions(map(make, texts), format_, WORDS, width))


def test_items_come_in_order_in_batches_and_blank_ones_are_not_asked_for():
    asked: list[list[str]] = []
    read: list[str] = []

    def items():
        for number, text in enumerate(["a", "", "bb", " \t", "ccc"], start=1):
            read.append(text)
            yield str(number), text

    def probs_of(texts: list[str]) -> np.ndarray:
        asked.append(texts)
        return np.array([[len(text) / 10, 0.5] for text in texts])

    found = predict_items(items(), probs_of, lambda p: (p >= 0.2).astype(np.int64), batch_size=2)
    first = next(found)
    # The first answer comes before the third text is read.
    assert read == ["a", ""]
    rest = list(found)
    assert asked == [["a"], ["bb"], ["ccc"]]
    assert [p.name for p in (first, *rest)] == ["1", "2", "3", "4", "5"]
    assert [None if p.probs is None else p.probs[0] for p in (first, *rest)] == [
        0.1,
        None,
        0.2,
        None,
        0.3,
    ]
    assert rest[1].preds.tolist() == [1, 1]


def ask_nobody(_: object) -> np.ndarray:
    raise AssertionError("asked about blank texts")


def test_a_batch_of_blanks_asks_nobody():
    found = predict_items([("1", ""), ("2", "\n")], ask_nobody, ask_nobody)
    assert [p.preds for p in found] == [None, None]


def test_json_lines_keep_texts_as_they_are():
    lines = spell("jsonl", *TEXTS)
    assert [json.loads(line)["text"] for line in lines] == list(TEXTS)
    # One line each, for every reader's idea of a line.
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert json.loads(lines[0]) == {
        "id": "9",
        "text": TEXTS[0],
        "labels": ["fear"],
        "probs": {"anger": 0.25, "fear": 0.75},
    }
    assert json.loads(lines[4])["labels"] is None
    assert "😀" in lines[2]


def test_csv_has_no_formula():
    rows = list(csv.reader(io.StringIO("\n".join(spell("csv", *TEXTS)))))
    assert rows[0] == ["id", "text", "labels", "anger", "fear"]
    assert rows[1] == ["9", f"'{TEXTS[0]}", "fear", "0.250000", "0.750000"]
    assert rows[2][1] == f"'{TEXTS[1]}"
    assert rows[4][1] == TEXTS[3]
    assert rows[5] == ["9", "", "", "", ""]


def test_table_fits_its_width_and_shows_no_control_characters():
    lines = spell("table", *TEXTS, width=60)
    assert lines[0] == " anger    fear  text"
    assert lines[1].startswith("0.250   0.750*  =HYPERLINK")
    assert "[U+001B][31m[U+202E]" in lines[3]
    assert "\x1b" not in lines[3]
    assert lines[5] == "     –       –  (empty)"
    assert lines[6].endswith("今…")
    assert len(lines) == 7
    assert [line.count("\n") for line in lines] == [0] * 7


def test_levels_are_named():
    found = make("x", (0.9, 0.6, 0.4, 0.1), (2, 0))
    lines = {
        f: list(spell_predictions([found], f, LEVELS, 60))[-1] for f in ("table", "csv", "jsonl")
    }
    assert lines["table"] == "2 0.900  0 0.400  x"
    assert lines["csv"].startswith("9,x,anger=2,0.900000,0.600000")
    assert json.loads(lines["jsonl"])["labels"] == {"anger": 2}
    both = make("x", (0.9, 0.6, 0.4, 0.1), (2, 1))
    assert next(iter(spell_predictions([both], "jsonl", LEVELS))).count("anger") == 3
    assert list(spell_predictions([both], "csv", LEVELS))[1].split(",")[2] == "anger=2|joy=1"


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("今天", 4, "今天"),
        ("今天天", 4, "今…"),
        ("", 3, ""),
    ],
)
def test_texts_are_cut_to_the_columns_of_a_terminal(text: str, width: int, shown: str):
    assert fit_text(text, width) == shown
