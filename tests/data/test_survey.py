"""`data check`: everything odd about the files of some tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from semeval_kit.data.survey import CheckReport, FileReport, check_tasks, find_strays
from semeval_kit.errors import KitError
from semeval_kit.task.task import Task, load_task

HEADER = "id,text,anger,fear,joy\n"
TRAIN = HEADER + "t1,late again,1,0,0\nt2,so glad,0,0,1\nt3,a table,0,0,0\nt4,boo,0,1,0\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with sound files of eng."""
    folder = tmp_path / "data"
    put(folder, "track_a/train/eng.csv", TRAIN)
    put(folder, "dev/eng.csv", HEADER + "d1,hm,0,0,1\nd2,no,1,1,0\n")
    put(folder, "test/eng.csv", HEADER + "e1,new words,,,\ne2,others,,,\n")
    return folder


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def report_of(report: CheckReport, split: str, language: str = "eng") -> FileReport:
    return next(f for f in report.files if (f.split, f.language) == (split, language))


def test_sound_files_are_counted(task: Task, folder: Path) -> None:
    report = check_tasks([task], folder)
    train = report_of(report, "train")
    assert (train.n_rows, train.n_labels) == (4, 3)
    assert train.positives == {"anger": 1, "fear": 1, "joy": 1}
    assert report_of(report, "test").positives == {}
    assert report_of(report, "test").notes == ("labels are blank: read as not annotated",)
    assert report.n_errors == 0
    assert report.overlaps == ()


def test_rare_labels_ask_for_fewer_folds(task: Task, folder: Path) -> None:
    more = "".join(f"m{i},text {i},1,0,0\n" for i in range(5))
    put(folder, "track_a/train/eng.csv", TRAIN.replace("t4,boo,0,1,0", "t4,boo,0,0,0") + more)
    assert report_of(check_tasks([task], folder), "train").warnings == (
        "label 'fear' has no positive",
        "label 'joy' has 1 positive: use at most 1 fold",
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (TRAIN.replace("t2,", "t1,"), "line 3: id 't1' is already on line 2"),
        (TRAIN.replace(",joy", ",jot"), "line 1: column 'joy' is missing"),
        (TRAIN.replace("glad,0", "glad,"), "line 3: label 'anger' is blank"),
        (TRAIN.replace("glad,0", "glad,0.5"), "line 3: label 'anger' is '0.5'"),
        (TRAIN.replace("glad,0", "glad,4"), "line 3: label 'anger' is '4'; expected 0 or 1"),
        (TRAIN.replace("so glad", ""), "line 3: the text is empty"),
        (TRAIN.encode().replace(b"glad", b"gl\xe4d"), "line 3: byte 0xe4 is not UTF-8"),
        (TRAIN.replace("glad", "gl\0d"), "line 3: holds a NUL byte"),
        ("", "the file is empty"),
    ],
)
def test_an_error_in_a_file_does_not_stop_the_others(
    task: Task, folder: Path, content: str | bytes, line: str
) -> None:
    put(folder, "track_a/train/eng.csv", content)
    report = check_tasks([task], folder)
    errors = report_of(report, "train").errors
    assert len(errors) >= 1
    assert line in errors[0]
    assert report.n_errors == len(errors)
    assert report_of(report, "dev").n_rows == 2


@pytest.mark.parametrize("content", ["id,text\nd1,hm\n", HEADER + "d1,hm,,,\nd2,no,,,\n"])
def test_a_dev_split_may_be_without_labels_until_they_are_released(
    task: Task, folder: Path, content: str
) -> None:
    put(folder, "dev/eng.csv", content)
    dev = report_of(check_tasks([task], folder), "dev")
    assert dev.errors == ()
    assert dev.warnings == (
        "has no labels (not released yet?): it cannot be scored, nor trained on",
    )
    put(folder, "dev/eng.csv", HEADER + "d1,hm,1,,\nd2,no,,,\n")
    assert "label 'anger' is blank" in report_of(check_tasks([task], folder), "dev").errors[0]


def test_what_is_accepted_is_said(task: Task, folder: Path) -> None:
    put(
        folder,
        "track_a/train/eng.csv",
        b"\xef\xbb\xbf"
        + TRAIN.replace("glad,0,0,1", "glad,0,0,1.0").replace("\n", "\r\n").encode(),
    )
    put(folder, "track_a/train/deu.csv", "id,text,anger,fear,joy\nx1,Text,1,,0\nx2,Wort,0,,1\n")
    report = check_tasks([task], folder)
    assert report_of(report, "train").notes == (
        "starts with a byte order mark (BOM): accepted and skipped",
        "has CRLF line ends: accepted",
        "1 label is spelled '1.0': accepted as whole numbers",
    )
    assert report_of(report, "train", "deu").notes == (
        "blank label columns, read as not annotated: fear",
    )
    assert report.n_errors == 0


def test_duplicates_and_conflicts_are_named(task: Task, folder: Path) -> None:
    put(folder, "track_a/train/eng.csv", TRAIN + "t5,SO  glad,0,0,1\nt6,Boo,1,0,0\n")
    warnings = report_of(check_tasks([task], folder), "train").warnings
    assert warnings[:2] == (
        "2 duplicate texts (t2 = t5; t4 = t6)",
        "1 text occurs with conflicting labels (t4 = t6)",
    )


def test_overlaps_between_splits_are_named(task: Task, folder: Path) -> None:
    put(folder, "test/eng.csv", HEADER + "e1,Late AGAIN,,,\ne2,hm,,,\ne3,boo,,,\n")
    report = check_tasks([task], folder)
    assert [overlap.describe() for overlap in report.overlaps] == [
        "eng: 2 of 3 texts of made-up test are also in made-up train, 1 of them verbatim "
        "(first: e1 = t1)",
        "eng: 1 of 3 texts of made-up test is also in made-up dev, 1 of them verbatim "
        "(first: e2 = d1)",
    ]
    assert report.overlaps[0].pairs == (("t1", "e1"), ("t4", "e3"))


def test_overlaps_between_tracks_are_named(folder: Path, write_task: Callable[..., Task]) -> None:
    task = write_task()
    other = write_task(
        ('"made-up"', '"made-up-b"'),
        ('["track_a/train/{lang}.csv", "train/{lang}.csv"]', '["track_a/train/{lang}.csv"]'),
        ('["dev/{lang}.csv"]', "[]"),
        ('["test/{lang}.csv"]', '["track_b/test/{lang}.csv"]'),
    )
    put(folder, "track_b/test/eng.csv", HEADER + "b1,so glad,,,\n")
    report = check_tasks([task, other], folder)
    assert [(o.first, o.second, o.pairs) for o in report.overlaps] == [
        ("made-up train", "made-up-b test", (("t2", "b1"),))
    ]
    # The train file that both have is read once and warned about once.
    shared = [file for file in report.files if file.split == "train"]
    assert shared[1].notes == ("the same file as made-up train; see there",)
    assert shared[1].warnings == ()
    assert shared[0].warnings != ()


def test_strays_are_found_by_name_and_never_read(task: Task, folder: Path) -> None:
    put(folder, "track_a/train/eng_track1_test.csv", b"\xff\xfe broken")
    put(folder, "track_a/train/old.csv", "not,a,table")
    put(folder, "track_a/train/.hidden.csv", "")
    put(folder, "track_a/train/README.md", "words")
    strays = find_strays([task], folder)
    place = folder / "track_a" / "train"
    assert strays == [
        f"{place}/eng_track1_test.csv: a test file among train files; not read, and never to be "
        "trained on",
        f"{place}/old.csv: belongs to no language of the task; not read",
    ]
    report = check_tasks([task], folder)
    assert report.n_errors == 0
    assert list(report.strays) == strays


def test_missing_files_warn_unless_their_language_was_asked_for(task: Task, folder: Path) -> None:
    assert check_tasks([task], folder).missing == (
        "made-up: no train file for deu (looked for track_a/train/{lang}.csv or train/{lang}.csv)",
        "made-up: no dev file for deu, ron (looked for dev/{lang}.csv)",
        "made-up: no test file for deu, ron (looked for test/{lang}.csv)",
    )
    asked = check_tasks([task], folder, ["ron"])
    assert asked.missing == ()
    assert asked.n_errors == 1
    assert check_tasks([task], folder, ["eng"]).n_errors == 0


def test_an_empty_folder_and_an_unknown_language_are_errors(task: Task, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no file of made-up" in check_tasks([task], tmp_path / "empty").errors[0]
    with pytest.raises(KitError, match="no such folder"):
        check_tasks([task], tmp_path / "absent")
    with pytest.raises(KitError, match="'enq' is not in task made-up \\(did you mean 'eng'"):
        check_tasks([task], tmp_path, ["enq"])


def test_gold_is_read_by_the_rules_of_scoring(
    folder: Path, write_task: Callable[..., Task]
) -> None:
    task = write_task(
        ('test = ["test/{lang}.csv"]', 'test = ["test/{lang}.csv"]\ngold = ["gold/{lang}.csv"]')
    )
    put(folder, "gold/eng.csv", "id,anger,fear,joy\ne1,1,0,1\ne2,1,0,0\n")
    gold = report_of(check_tasks([task], folder), "gold")
    assert (gold.n_rows, gold.positives) == (2, {"anger": 2, "fear": 0, "joy": 1})
    put(folder, "gold/eng.csv", "id,anger,fear,joy\ne1,,,\n")
    gold = report_of(check_tasks([task], folder), "gold")
    assert gold.warnings == ("labels are blank: nothing can be scored",)


def test_a_report_becomes_json(task: Task, folder: Path) -> None:
    plain = check_tasks([task], folder).to_json()
    assert plain["files"][0]["positives"] == {"anger": 1, "fear": 1, "joy": 1}
    assert (plain["n_errors"], plain["strays"]) == (0, ())


def test_the_official_files_hold_what_is_known_of_them(official_data: Path) -> None:
    tasks = [load_task(f"semeval2025-task11-{track}") for track in "abc"]
    # Processor time, so that what else runs on the machine does not matter.
    start = time.process_time()
    report = check_tasks(tasks, official_data)
    assert time.process_time() - start < 30
    counts = {(f.task[-1], f.split): 0 for f in report.files}
    for file in report.files:
        counts[file.task[-1], file.split] += file.n_rows
    assert counts == {
        ("a", "train"): 65_094,
        ("a", "dev"): 8_505,
        ("a", "test"): 41_553,
        ("b", "train"): 23_511,
        ("b", "dev"): 2_662,
        ("b", "test"): 19_691,
        ("c", "train"): 65_094,
        ("c", "dev"): 10_370,
        ("c", "test"): 46_884,
    }
    assert report.n_errors == 0
    assert report.missing == ()
    assert [Path(stray.split(": ")[0]).name for stray in report.strays] == ["ron_track1_test.csv"]
    found = {(o.first[-7:], o.second[-6:], o.language): len(o.pairs) for o in report.overlaps}
    assert found["a train", "a test", "ibo"] == 61
    assert found["a train", "a test", "swa"] == 15
    assert found["a train", "a test", "eng"] == 6
    assert found["a train", "b test", "amh"] == 1040
    conflicting = {
        file.language: warning.split()[0]
        for file in report.files
        for warning in file.warnings
        if "conflicting" in warning and (file.task[-1], file.split) == ("a", "train")
    }
    assert conflicting == {"ibo": "23", "swa": "2", "eng": "1"}
