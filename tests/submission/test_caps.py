"""Monstrous files: each is answered within seconds, and no message repeats them."""

from __future__ import annotations

import time

import pytest

from semeval_kit.errors import KitError
from semeval_kit.submission.score import score_submission
from semeval_kit.submission.validate import validate_submission

HEADER = b"id,anger,fear,joy\n"
ROW = b"eng_test_track_a_1,1,0,0\n"
MONSTERS = {
    "a header of a million columns": b"id," + b",".join(b"c%d" % i for i in range(1_000_000)),
    "a header of 18 MB": b"id," + b"x" * 18_000_000,
    "duplicate rows": HEADER + ROW * 150_000,
    "unclosed quotes": HEADER + b'"a,1,0,1\n' * 200_000,
    "one unclosed quote": HEADER + b'"' + ROW * 5_000,
    "rows that nobody asked for": HEADER + b"".join(b"x%d,1,0,0\n" % i for i in range(200_000)),
    "bytes that are not UTF-8": HEADER + b"\xff\n" * 2_000_000,
    "a row of 5 million cells": HEADER + ROW[:-6] + b"," * 5_000_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", MONSTERS)
def test_monsters_are_answered_within_seconds(task, gold, tmp_path, case):
    folder = tmp_path / "track_a"
    folder.mkdir()
    (folder / "pred_eng.csv").write_bytes(MONSTERS[case])
    start = time.process_time()
    said = "\n".join(validate_submission(task, folder, gold).errors)
    for rules in ("2026", "2025", "generic"):
        score = score_submission(task, folder, gold, rules)
        assert not score.accepted
        said += score.message
    assert time.process_time() - start < 10
    assert len(said) < 25_000


def test_20_000_labels_are_scored_within_seconds(task, tmp_path):
    labels = tuple(f"label{i}" for i in range(20_000))
    section = task.labels.model_copy(update={"default": labels, "by_language": {}})
    wide = task.model_copy(update={"labels": section})
    row = "eng_1," + ",".join("01"[i % 2] for i in range(20_000))
    text = ",".join(["id", *labels]) + "\n" + row + "\n"
    for name in ("gold/eng.csv", "track_a/pred_eng.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    start = time.process_time()
    assert validate_submission(wide, tmp_path / "track_a", tmp_path / "gold").ok
    score = score_submission(wide, tmp_path / "track_a", tmp_path / "gold")
    assert score.scores["eng_macro_f1"] == 0.5
    assert time.process_time() - start < 10


def test_more_than_a_submission_can_hold_is_refused(task, gold, tmp_path):
    path = tmp_path / "big.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(20_000_001))
    with pytest.raises(KitError, match=r"larger than the cap of 20 MB"):
        score_submission(task, path, gold)
