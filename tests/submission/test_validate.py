"""The validator: never accepts what the official scorer rejects, and says where it is stricter."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semeval_kit.data.reference import find_references
from semeval_kit.errors import KitError
from semeval_kit.submission import validate
from semeval_kit.submission.reading import Predictions, read_predictions
from semeval_kit.submission.score import score_submission
from semeval_kit.submission.validate import STRICTER, validate_submission
from semeval_kit.task.task import Task, list_tasks, load_task

HEADER = "id,anger,fear,joy\n"
ROWS = "eng_test_track_a_1,1,0,0\neng_test_track_a_2,0,1,1\neng_test_track_a_3,0,0,1\n"
ENGLISH = HEADER + ROWS
GERMAN = "id,anger,joy\ndeu_test_1,1,0\ndeu_test_2,0,1\n"
MEMBER = "track_a/pred_eng.csv"


def is_accepted(task, path, gold) -> bool:
    """Whether our scorer, which answers as the official one does, accepts."""
    try:
        return score_submission(task, path, gold, "2026").accepted
    except KitError:
        return False


def test_a_right_submission_is_valid(task, gold, make_zip):
    members = {MEMBER: ENGLISH, "track_a/pred_deu.csv": GERMAN}
    result = validate_submission(task, make_zip(members), gold)
    assert result.errors == []
    assert result.infos == [
        "track_a/pred_deu.csv: 2 rows, labels anger, joy",
        "track_a/pred_eng.csv: 3 rows, labels anger, fear, joy",
    ]
    assert result.warnings == [
        "2 of 3 languages: the average counts the missing 1 as 0 (ron)",
    ]


ACCEPTED = {
    "shuffled rows": (
        HEADER + "eng_test_track_a_3,0,0,1\neng_test_track_a_1,1,0,0\neng_test_track_a_2,0,1,1\n",
        None,
    ),
    "spaced values": (ENGLISH.replace(",1,0,0", ", 1,0 ,0"), "2 values have spaces"),
    "quoted values": (ENGLISH.replace(",1,0,0", ',"1",0,"0"'), None),
    "CRLF": (ENGLISH.replace("\n", "\r\n"), "CRLF"),
    "CR-only line ends": (ENGLISH.replace("\n", "\r"), "CR line ends"),
    "byte order mark": ("\ufeff" + ENGLISH, "byte order mark"),
    "trailing blank lines": (ENGLISH + "\n\n", "2 blank lines skipped"),
    "no newline at the end": (ENGLISH.rstrip("\n"), None),
    "all zeros": (
        HEADER + "".join(f"eng_test_track_a_{i},0,0,0\n" for i in (1, 2, 3)),
        "every prediction is 0",
    ),
    "constant column": (ENGLISH.replace("_1,1,0,0", "_1,1,1,0").replace("_3,0,0", "_3,0,1"),
                        "label 'fear' (1) is the same in every row"),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_fine_is_accepted_and_told(task, gold, make_zip, case):
    content, warning = ACCEPTED[case]
    path = make_zip({MEMBER: content})
    result = validate_submission(task, path, gold)
    assert result.errors == []
    assert is_accepted(task, path, gold)
    assert len(result.warnings) == 1 + (warning is not None)
    assert warning is None or warning in result.warnings[0]


# case -> (content, rule, words of the message); `stricter` follows from STRICTER and is checked
# against the scorer.
REFUSED = {
    "wrong label order": (
        "id,joy,fear,anger\n" + ROWS,
        "header",
        "line 1: the header is 'id,joy,fear,anger'; expected 'id,anger,fear,joy'. The columns are "
        "in another order",
    ),
    "capitals in the header": (
        ENGLISH.replace("anger", "Anger"),
        "header",
        "Names must be spelled exactly so: capitals and spaces make the scorer fail",
    ),
    "spaces in the header": (ENGLISH.replace("anger", " anger"), "header", "exactly so"),
    "ID": (ENGLISH.replace("id,", "ID,", 1), "header", "exactly so"),
    "id with a space": (ENGLISH.replace("id,", "id ,", 1), "header", "exactly so"),
    "float": (
        ENGLISH.replace("_1,1,", "_1,1.0,"),
        "value",
        "line 2: id eng_test_track_a_1: label 'anger' is '1.0'; expected 0 or 1. Write a whole",
    ),
    "True": (ENGLISH.replace("_1,1,", "_1,True,"), "value", "label 'anger' is 'True'"),
    "probability": (ENGLISH.replace("_1,1,", "_1,0.7,"), "value", "'0.7'; expected 0 or 1"),
    "blank value": (ENGLISH.replace("_1,1,", "_1,,"), "value", "label 'anger' is ''"),
    "out of range": (ENGLISH.replace("_1,1,", "_1,2,"), "value", "'2'; expected 0 or 1"),
    "+1": (ENGLISH.replace("_1,1,", "_1,+1,"), "value", "'+1'"),
    "full-width digit": (ENGLISH.replace("_1,1,", "_1,\uff11,"), "value", "'\uff11'"),
    "no-break space": (ENGLISH.replace("_1,1,", "_1,\xa01,"), "value", r"'\xa01'"),
    "extra trailing cells": (
        ENGLISH.replace(",1,0,0", ",1,0,0,9"),
        "extra_cells",
        "line 2: 5 cells where the header has 4. Correct the row.",
    ),
    "trailing commas": (ENGLISH.replace("_2,0,1,1", "_2,0,1,1,"), "extra_cells", "5 cells"),
    "short row": (ENGLISH.replace(",1,0,0", ",1,0"), "short_row", "3 cells where the header has 4"),
    "empty file": ("", "empty", "pred_eng.csv: the file is empty"),
    "header only": (HEADER, "no_rows", "has no predictions"),
    "row count": (
        ENGLISH.replace("eng_test_track_a_3,0,0,1\n", ""),
        "row_count",
        "expected 3 rows, received 2",
    ),
    "missing id": (
        ENGLISH.replace("eng_test_track_a_3,0,0,1\n", ""),
        "missing_ids",
        "1 id is missing (first: eng_test_track_a_3)",
    ),
    "duplicate id, right count": (
        ENGLISH.replace("_a_3", "_a_2"),
        "duplicate_id",
        "line 4: id 'eng_test_track_a_2' is already on line 3",
    ),
    "dev ids": (
        ENGLISH.replace("_test_", "_dev_"),
        "missing_ids",
        "The ids say 'dev' where 'test' is expected: another split?",
    ),
    "another track's ids": (
        ENGLISH.replace("track_a", "track_b"),
        "missing_ids",
        "The ids say 'b' where 'a' is expected: another track?",
    ),
    "another language's rows": (
        ENGLISH.replace("eng_", "deu_"),
        "missing_ids",
        "The ids say 'deu' where 'eng' is expected: another language?",
    ),
    "extra row": (ENGLISH + "x,0,0,0\n", "unknown_ids", "1 id is not in"),
    "ids in upper case": (ENGLISH.replace("eng_test", "ENG_TEST"), "missing_ids", "3 ids"),
    "empty id": (ENGLISH.replace("eng_test_track_a_1", ""), "empty_id", "line 2: the id is empty"),
    "ids with spaces": (
        ENGLISH.replace("eng_test_track_a_1", " eng_test_track_a_1"),
        "id_spaces",
        "id ' eng_test_track_a_1' has spaces around it",
    ),
    "newline in an id": (
        ENGLISH.replace("eng_test_track_a_1", '"eng\n1"'),
        "unknown_ids",
        r"eng\n1",
    ),
    "HTML in an id": (ENGLISH.replace("eng_test_track_a_1", "<b>"), "unknown_ids", "<b>"),
    "stray byte": (ENGLISH.encode().replace(b"_1,1", b"_\xe9,1"), "encoding", "line 2: byte 0xe9"),
    "UTF-16": (ENGLISH.encode("utf-16"), "encoding", "this is UTF-16 text"),
    "double byte order mark": ("\ufeff\ufeff" + ENGLISH, "header", "two byte order marks"),
    "NUL byte": (ENGLISH.replace("_1,1", "_1,\x00"), "nul", "line 2: holds a NUL byte"),
    "NUL byte beyond the header": (ENGLISH.replace(",1,0,0", ",1,0,0,\x00"), "nul", "NUL byte"),
    "semicolons": (ENGLISH.replace(",", ";"), "header", "not separated as in the test file"),
    "tabs": (ENGLISH.replace(",", "\t"), "header", "not separated as in the test file"),
    "index column": (
        "," + HEADER + "".join(f"{i},{row}\n" for i, row in enumerate(ROWS.splitlines())),
        "header",
        "The first column is an index",
    ),
    "kept text column": (
        "id,text,anger,fear,joy\n" + ROWS.replace("_1,", "_1,x,"),
        "header",
        "Remove the column 'text'",
    ),
    "added column": (
        "id,anger,disgust,fear,joy\n" + ROWS,
        "header",
        "Remove the column 'disgust'",
    ),
    "lacking column": ("id,anger,joy\n" + ROWS, "header", "Add the column 'fear'"),
    "other columns": ("a,b,c\n" + ROWS, "header", "Take the header from the organisers'"),
    "comment line": ("# mine\n" + ENGLISH, "header", "Take the header"),
    "blank first line": ("\n" + ENGLISH, "blank_first_line", "line 1: the first line is blank"),
    "open quote": (
        ENGLISH.replace("_3,0,0,1", '_3,0,0,"1'),
        "open_quote",
        "line 4: a quote opens here and never closes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_files_are_refused_with_a_message(task, gold, make_zip, case):
    content, rule, words = REFUSED[case]
    path = make_zip({MEMBER: content})
    result = validate_submission(task, path, gold)
    found = [finding for finding in result.findings if finding.rule == rule]
    assert found, result.errors
    assert words in found[0].message
    assert found[0].message.startswith(MEMBER)
    stricter_only = all(finding.stricter for finding in result.findings)
    assert stricter_only == is_accepted(task, path, gold)
    assert ("stricter than the official scorer" in str(found[0])) == found[0].stricter


# case -> (members, rule, words, whether the scorer of 2026 would accept)
REFUSED_ZIPS = {
    "two files of a language": (
        {"a/pred_eng.csv": ENGLISH, "b/pred_eng.csv": ENGLISH},
        "two_files",
        "'a/pred_eng.csv' and 'b/pred_eng.csv' are of one language. Keep one.",
        True,
    ),
    "language in capitals": (
        {"pred_ENG.csv": ENGLISH},
        "language",
        "'pred_ENG.csv' is of language 'ENG', which made-up does not have (did you mean 'eng'?)",
        False,
    ),
    "name with an ending": (
        {"pred_eng_final.csv": ENGLISH},
        "language",
        "is of language 'eng_final'",
        False,
    ),
    "unsupported language": (
        {"pred_eng.csv": ENGLISH, "pred_xyz.csv": ENGLISH},
        "language",
        "'pred_xyz.csv' is of language 'xyz'",
        False,
    ),
    "no language": ({"pred_.csv": ENGLISH}, "language", "is of language ''", False),
    "no prefix": (
        {"pred_deu.csv": GERMAN, "eng.csv": ENGLISH},
        "other_file",
        "'eng.csv' is no prediction file. Name it pred_{lang}.csv, spelled exactly so",
        True,
    ),
    "ending in capitals": ({"pred_eng.CSV": ENGLISH}, "other_file", "'pred_eng.CSV' is no", False),
    "nothing to score": ({"eng.csv": ENGLISH}, "no_predictions", "Expected track_a/pred_", False),
    "folder named like a prediction file": (
        {"pred_eng.csv/x.csv": ENGLISH},
        "folder_named_so",
        "'pred_eng.csv' is a folder named like a prediction file",
        False,
    ),
    "empty folder named like one": (
        {"pred_eng.csv/": "", "pred_deu.csv": GERMAN},
        "folder_named_so",
        "'pred_eng.csv' is a folder",
        False,
    ),
    "empty zip": ({}, "no_predictions", "no prediction file", False),
}


@pytest.mark.parametrize("case", REFUSED_ZIPS)
def test_bad_zips_are_refused_with_a_message(task, gold, make_zip, case):
    members, rule, words, accepted = REFUSED_ZIPS[case]
    path = make_zip(members)
    result = validate_submission(task, path, gold)
    found = [finding for finding in result.findings if finding.rule == rule]
    assert words in found[0].message
    assert is_accepted(task, path, gold) == accepted
    assert all(finding.stricter for finding in result.findings) == accepted


def test_hazards_of_archives_are_errors(task, gold, make_zip):
    inner = make_zip({MEMBER: ENGLISH}, "inner.zip").read_bytes()
    result = validate_submission(task, make_zip({MEMBER: ENGLISH, "inner.zip": inner}), gold)
    assert [finding.rule for finding in result.findings] == ["nested_zip"]
    assert "member 'inner.zip' is a zip itself" in result.errors[0]
    assert "(stricter than the official scorer: it ignores a zip in the zip" in result.errors[0]
    result = validate_submission(task, make_zip({"../pred_eng.csv": ENGLISH}), gold)
    assert [finding.rule for finding in result.findings] == ["parent"]


def test_every_stricter_rule_has_a_reason():
    refused = {rule for _, rule, _ in REFUSED.values()}
    refused |= {rule for _, rule, _, _ in REFUSED_ZIPS.values()}
    archive = {
        "nested_zip", "duplicate_member", "too_many_entries", "too_large", "ratio", "overlap",
        "damaged", "symlink", "encrypted", "compression", "backslash", "absolute", "parent",
        "bad_name",
    }  # fmt: skip
    assert set(STRICTER) - refused - archive == {"folder"}
    assert all(reason for reason in STRICTER.values())


def test_remains_of_macos_and_other_folders_are_warnings(task, gold, make_zip):
    path = make_zip({"pred_eng.csv": ENGLISH, "__MACOSX/._pred_eng.csv": "x", ".DS_Store": "x"})
    result = validate_submission(task, path, gold)
    assert result.errors == []
    assert "2 remains of macOS (first: '__MACOSX/._pred_eng.csv')" in result.warnings[0]
    assert "'pred_eng.csv' should lie in 'track_a/'" in result.warnings[1]
    assert is_accepted(task, path, gold)


def test_a_csv_in_place_of_a_zip_is_called_so(task, gold, tmp_path):
    path = tmp_path / "pred_eng.csv"
    path.write_text(ENGLISH)
    result = validate_submission(task, path, gold)
    assert "this is a CSV file, not a zip" in result.errors[0]


def test_test_files_serve_as_reference_and_train_as_prior(task, make_zip, tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
    ids = [f"eng_test_{i}" for i in range(100)]
    test = "id,text,anger,fear,joy\n" + "".join(f"{row_id},x,,,\n" for row_id in ids)
    (tmp_path / "test/eng.csv").write_text(test)
    train = [f"t{i},text {i},{int(i < 70)},{int(i < 5)},{int(i % 2)}\n" for i in range(100)]
    (tmp_path / "train/eng.csv").write_text("id,text,anger,fear,joy\n" + "".join(train))
    right = [f"{row_id},{int(i < 65)},{int(i < 9)},{i % 2}\n" for i, row_id in enumerate(ids)]
    swapped = [f"{row_id},{int(i < 9)},{int(i < 65)},{i % 2}\n" for i, row_id in enumerate(ids)]
    path = make_zip({MEMBER: HEADER + "".join(right)})
    result = validate_submission(task, path, tmp_path, data=tmp_path)
    assert (result.errors, len(result.warnings)) == ([], 1)
    path = make_zip({MEMBER: HEADER + "".join(swapped)})
    result = validate_submission(task, path, tmp_path, data=tmp_path)
    assert result.ok
    assert (
        "label 'anger' is positive in 9.0% of the rows, but in 70.0% of train" in result.warnings[0]
    )
    assert "label 'fear' is positive in 65.0%" in result.warnings[1]


def test_without_a_reference_ids_are_not_checked_but_the_header_is(task, make_zip):
    result = validate_submission(task, make_zip({MEMBER: ENGLISH.replace("_test_", "_x_")}))
    assert result.ok
    assert "ids were not checked" in result.warnings[0]
    result = validate_submission(task, make_zip({MEMBER: ENGLISH.replace("anger", "rage")}))
    assert not result.ok


def test_positional_files_are_checked_by_row_count(write_task, make_zip, tmp_path):
    task = write_task(
        ("[data.files]", '[data]\nid_column = ""\n[data.files]'),
        (
            'member = "track_a/pred_{lang}.csv"',
            'member = "p_{lang}.tsv"\nzip_name = "predictions.zip"\nheader = false\n'
            'id_column = ""\nlabel_layout = "joined"',
        ),
        ('rules = "2026"', 'rules = "generic"'),
    )
    (tmp_path / "eng.csv").write_text("text,anger,fear,joy\nx,1,0,0\ny,0,1,1\n")
    good = make_zip({"p_eng.tsv": "anger\nfear/joy\n"}, "predictions.zip")
    assert validate_submission(task, good, tmp_path / "eng.csv").ok
    result = validate_submission(task, make_zip({"p_eng.tsv": "anger\n"}), tmp_path / "eng.csv")
    assert "expected 2 rows, received 1" in result.errors[0]
    assert "stricter" not in result.errors[0]
    assert "the site expects 'predictions.zip'" in result.warnings[0]
    nested = make_zip({"x/p_eng.tsv": "anger\nfear/joy\n"}, "predictions.zip")
    assert "should lie at the zip's root" in str(
        validate_submission(task, nested, tmp_path / "eng.csv").errors
    )


STRICTER_VECTORS = {
    "extra_cells": "extra_cells",
    "no_pred": "other_file",
}
"""Kinds of recorded submissions that the official program accepts and we refuse -> our rule."""


def check_vectors(task, vectors, folder):
    for i, vector in enumerate(vectors):
        for part in ("gold", "pred"):
            place = folder / f"{part}{i}"
            place.mkdir()
            for name, text in vector[part].items():
                (place / name).write_bytes(text.encode())
        result = validate_submission(task, folder / f"pred{i}", folder / f"gold{i}")
        kind = vector["name"].split("-", 1)[1]
        if not vector["accepted"]:
            assert not result.ok, vector["name"]
            assert not all(finding.stricter for finding in result.findings), vector["name"]
        elif kind in STRICTER_VECTORS:
            assert {f.rule for f in result.findings} == {STRICTER_VECTORS[kind]}, vector["name"]
            assert all(finding.stricter for finding in result.findings)
        else:
            assert result.errors == [], vector["name"]


@pytest.mark.parametrize("track", ["a", "b", "c"])
def test_none_of_a_sample_is_accepted_that_the_official_program_rejects(tmp_path, track):
    lines = (Path(__file__).parent / f"vectors/track_{track}.jsonl").read_text().splitlines()
    task = load_task(f"semeval2025-task11-{track}")
    check_vectors(task, [json.loads(line) for line in lines], tmp_path)


@pytest.mark.parametrize("track", ["a", "b", "c"])
def test_no_recorded_submission_is_accepted_that_the_official_program_rejects(
    scorer_vectors, tmp_path, track
):
    vectors = json.loads((scorer_vectors / f"track_{track}.json").read_text())
    check_vectors(load_task(f"semeval2025-task11-{track}"), vectors, tmp_path)


PIECES = st.sampled_from(
    ["0", "1", "2", "1.0", "", " 1", "\xa01", "True", ",", '"', "\n", "\r", "\x00", "\ufeff", "é",
     "id", "ID", "anger", "Anger", "eng_test_track_a_1", "eng_test_track_a_2", "x", ";", "\t"]
)  # fmt: skip
EDITS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 4), PIECES), min_size=0, max_size=3)
LINE_EDITS = st.lists(
    st.tuples(st.sampled_from(["drop", "double", "swap"]), st.integers(0, 3)), max_size=2
)
NAMES = st.sampled_from(
    ["track_a/pred_eng.csv", "pred_eng.csv", "b/pred_eng.csv", "pred_ENG.csv", "eng.csv",
     "pred_deu.csv", "pred_eng.CSV", "pred_xyz.csv", "__MACOSX/pred_eng.csv", "._pred_eng.csv",
     "pred_.csv", "pred_pred_eng.csv", "pred_eng.csv/a", "pred_eng.csv/pred_deu.csv"]
)  # fmt: skip


@st.composite
def contents(draw) -> bytes:
    lines = draw(st.sampled_from([ENGLISH, GERMAN])).splitlines(keepends=True)
    for kind, i in draw(LINE_EDITS):
        i = min(i, len(lines) - 1)
        if kind == "drop" and len(lines) > 1:
            del lines[i]
        elif kind == "double":
            lines.insert(i, lines[i])
        else:
            lines[i], lines[-1] = lines[-1], lines[i]
    text = "".join(lines)
    for start, length, piece in draw(EDITS):
        text = text[:start] + piece + text[start + length :]
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1"]))
    return text.encode(encoding, errors="replace")


@pytest.fixture(scope="module")
def property_place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("property")
    (folder / "gold").mkdir()
    (folder / "gold/eng.csv").write_text(ENGLISH)
    (folder / "gold/deu.csv").write_text(GERMAN)
    return folder


@pytest.fixture(scope="module")
def property_task() -> Task:
    task = load_task("semeval2025-task11-a")
    labels = task.labels.model_copy(
        update={"default": ("anger", "fear", "joy"), "by_language": {"deu": ("anger", "joy")}}
    )
    return task.model_copy(update={"labels": labels})


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(members=st.dictionaries(NAMES, contents(), min_size=1, max_size=3))
def test_whatever_is_submitted_valid_means_accepted(property_place, property_task, members):
    """And a refusal says whether the official scorer would have accepted."""
    task = property_task
    gold = find_references(task, property_place / "gold")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    path = property_place / "submission.zip"
    path.write_bytes(buffer.getvalue())
    result = validate_submission(task, path, gold)
    accepted = is_accepted(task, path, gold)
    assert accepted or not result.ok, members
    assert accepted == all(finding.stricter for finding in result.findings), result.errors


def test_tasks_of_the_kit_are_read_once_and_long_files_by_their_first_lines(
    make_zip, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    lengths: list[int] = []

    def load(name: str) -> Task:
        read.append(name)
        return load_task(name)

    def look(task: Task, content: bytes, *more: Any) -> Predictions:
        lengths.append(content.count(b"\n"))
        return read_predictions(task, content, *more)

    monkeypatch.setattr(validate, "load_task", load)
    monkeypatch.setattr(validate, "read_predictions", look)
    validate._load_shipped.cache_clear()
    rows = "".join(f"{row},1,0,0,1,0\n" for row in range(5000))
    path = make_zip({MEMBER: f"id,anger,fear,joy,sadness,surprise\n{rows}"})
    for _ in range(2):
        told = validate_submission(load_task("semeval2026-task5"), path)
        assert told.findings[0].rule == "other_task"
    assert sorted(read) == list_tasks()
    assert set(lengths) == {500}
