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
    assert "average over the 1 languages of the submission" in done.output


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
    assert done.output.endswith("valid\n")


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
    assert done.output.splitlines()[-1].endswith(": valid")
    other = run(merge_zips, path, "--to", merged, "--task", "semeval2026-task5")
    assert other.exit_code == 1
    assert other.output.splitlines()[-1] == "semeval2026-task5: not valid"
