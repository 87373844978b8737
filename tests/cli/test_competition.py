"""The commands validate and score."""

from __future__ import annotations

import json
import zipfile

import pytest
from click.testing import CliRunner

from semeval_kit.cli.competition import merge_zips, score, validate

IDS = [f"eng_test_track_a_{i:05d}" for i in range(1, 5)]
HEADER = "id,anger,fear,joy,sadness,surprise\n"
GOLD = HEADER + "".join(f"{row_id},1,0,{i % 2},1,1\n" for i, row_id in enumerate(IDS))
TASK = ["--task", "semeval2025-task11-a"]


@pytest.fixture
def gold(tmp_path):
    folder = tmp_path / "gold"
    folder.mkdir()
    (folder / "eng.csv").write_text(GOLD)
    return folder


def write_zip(tmp_path, text):
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("track_a/pred_eng.csv", text)
    return path


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_score_prints_metrics_labels_average_and_baselines(tmp_path, gold):
    path = write_zip(tmp_path, GOLD.replace(",1,1\n", ",0,1\n"))
    done = run(score, path, *TASK, "--gold", gold)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].endswith("(rules: 2026)")
    assert "eng          4  0.600000  0.833333" in lines
    assert "sadness         4          0     0.0000  0.0000  0.0000" in lines
    assert "1 of 28 languages: average counts the missing 27 as 0" in lines
    assert "avg_macro_f1 = 0.021429" in lines
    assert any(line.split() == ["language", "rows", "macro-F1", "micro-F1"] for line in lines)
    assert not any(line.startswith("published macro_f1") for line in lines)
    assert any(line.startswith("  0.5894 (+0.0106 ours) mDeBERTa [BRIGHTER") for line in lines)


def test_score_as_json(tmp_path, gold):
    done = run(score, write_zip(tmp_path, GOLD), *TASK, "--gold", gold, "--json")
    answer = json.loads(done.output)
    assert answer["accepted"] is True
    assert answer["scores"]["eng_macro_f1"] == 0.8
    assert answer["denominator"] == 28
    assert answer["languages"][0]["labels"][2] == {
        "label": "joy", "support": 2, "predicted": 2, "precision": 1.0, "recall": 1.0, "f1": 1.0,
        "pearson_r": None,
    }  # fmt: skip


def test_a_rejected_submission_exits_with_1_and_tells_why(tmp_path, gold):
    done = run(score, write_zip(tmp_path, GOLD.replace("joy", "Joy")), *TASK, "--gold", gold)
    assert done.exit_code == 1
    assert "rejected (rules of 2026): KeyError: 'joy'" in done.output
    assert "One bad file rejects the whole submission" in done.output
    assert "avg_macro_f1 = 0.0" in done.output


def test_score_under_the_rules_of_2025(tmp_path, gold):
    path = write_zip(tmp_path, GOLD.replace("joy", "Joy"))
    done = run(score, path, *TASK, "--gold", gold, "--rules", "2025")
    assert done.exit_code == 0
    assert "average over the 1 language of the submission" in done.output


def test_validate_lists_errors_and_exits_with_1(tmp_path, gold):
    path = write_zip(tmp_path, GOLD.replace("_00001,1", "_00001,1.0"))
    done = run(validate, path, *TASK, "--gold", gold)
    assert done.exit_code == 1
    assert "error: track_a/pred_eng.csv, line 2: id eng_test_track_a_00001: label" in done.output
    assert done.output.endswith("not valid: 1 error\n")


def test_validate_accepts_and_tells_what_is_missing(tmp_path, gold):
    done = run(validate, write_zip(tmp_path, GOLD), *TASK, "--gold", gold)
    assert done.exit_code == 0
    assert "warning: 1 of 28 languages: the average counts the missing 27 as 0" in done.output
    assert done.output.endswith("\nvalid\n")


def test_validate_says_in_its_last_line_that_ids_were_not_compared(tmp_path, gold):
    path = write_zip(tmp_path, GOLD)
    done = run(validate, path, *TASK)
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == (
        "valid as far as could be checked: ids of track_a/pred_eng.csv not compared, give --data"
    )
    not_compared = [["--json"], ["--json", "--gold", gold]]
    answers = [json.loads(run(validate, path, *TASK, *words).output) for words in not_compared]
    assert [answer["ids_not_compared"] for answer in answers] == [["track_a/pred_eng.csv"], []]


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("semeval2024-task1-a", "semeval2025-task11-a"),  # another name
        ("semeval2019-task6-b", "semeval2019-task6-a"),  # the same name, other labels
    ],
)
def test_a_zip_of_another_task_is_told_as_that(tmp_path, task, asked):
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        if asked == "semeval2019-task6-a":
            archive.writestr("predictions.csv", "1,OFF\n2,NOT\n")
        else:
            archive.writestr("track_a/pred_eng.csv", GOLD)
    done = run(validate, path, "--task", task)
    assert done.exit_code == 1
    first = done.output.splitlines()[0]
    assert first.startswith(f"error: {path}: names, columns and labels are those of ")
    assert asked in first
    assert f"not of {task}" in first
    assert "spelled exactly so" not in done.output
    assert run(validate, path, "--task", asked).exit_code == 0


def test_a_few_faults_make_no_zip_of_another_task(tmp_path):
    rows = "".join(f"x{row},0,0,0,0,0\n" for row in range(20))
    header = GOLD.splitlines()[0]
    done = run(validate, write_zip(tmp_path, f"{header}\n{rows}y,2,0,0,0,0\n"), *TASK)
    assert done.exit_code == 1  # the 2 would be a level of Track B
    assert "are those of" not in done.output
    misspelt = tmp_path / "misspelt.zip"
    with zipfile.ZipFile(misspelt, "w") as archive:
        archive.writestr("track_a/predictions_eng.csv", GOLD)
    assert "spelled exactly so" in run(validate, misspelt, *TASK).output


def test_validate_as_json(tmp_path, gold):
    path = write_zip(tmp_path, GOLD.replace("_00001,1,0,0,1,1", "_00001,1,0,0,1,1,1"))
    answer = json.loads(run(validate, path, *TASK, "--gold", gold, "--json").output)
    assert answer["ok"] is False
    assert [(e["rule"], e["stricter"]) for e in answer["errors"]] == [("extra_cells", True)]


@pytest.mark.parametrize("command", [validate, score])
def test_help_shows_an_example(command):
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "Example:" in done.output


def test_merge_zips_checks_the_zip_as_the_tasks_that_are_named(tmp_path, gold):
    path, merged = write_zip(tmp_path, GOLD), tmp_path / "merged.zip"
    done = run(merge_zips, path, "--to", merged, *TASK)
    assert done.exit_code == 0
    assert done.output.startswith(f"{merged}: track_a/pred_eng.csv\n")
    assert done.output.splitlines()[-1] == (
        "semeval2025-task11-a: valid as far as could be checked: ids of track_a/pred_eng.csv not "
        "compared, give --data"
    )
    other = run(merge_zips, path, "--to", merged, "--task", "semeval2026-task5")
    assert other.exit_code == 1
    assert other.output.splitlines()[-1].startswith("semeval2026-task5: not valid: ")
