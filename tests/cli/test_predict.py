from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.run.directory import Run

TEXTS = ["bara wondi dora", "", "mourno lusi", "=1+1 zappo", "grumo\u2028tremba 😀"]


def call(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def read_json(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.rstrip("\n").split("\n")]


@pytest.fixture(scope="module")
def answers(trained_run: Path) -> list[dict]:
    return read_json(call("predict", trained_run, "--language", "eng", "--format", "jsonl", *TEXTS))


def test_probabilities_are_the_mean_of_the_folds_and_thresholds_decide(
    trained_run: Path, answers: list[dict]
):
    from semeval_kit.training.fold import load_fold

    run = Run.open(trained_run)
    worded = [text for text in TEXTS if text]
    models = [load_fold(run, fold) for fold in range(run.n_folds)]
    expected = np.mean([model.probs(worded) for model in models], axis=0)
    found = [row for row in answers if row["probs"] is not None]
    values = np.array([list(row["probs"].values()) for row in found])
    np.testing.assert_allclose(values, expected, atol=2e-6)
    cuts = json.loads(run.thresholds_file.read_text())
    names = cuts["target_names"]
    eng = cuts["values"]["eng"]
    for row, probs in zip(found, expected, strict=True):
        reached = [n for n, p, t in zip(names, probs, eng, strict=True) if t is not None and p >= t]
        assert row["labels"] == reached
    assert "disgust" in names
    assert eng[names.index("disgust")] is None


def test_texts_come_back_in_order_and_blank_ones_are_said(trained_run: Path, answers: list[dict]):
    assert [row["text"] for row in answers] == TEXTS
    assert [row["id"] for row in answers] == ["1", "2", "3", "4", "5"]
    assert answers[1] == {"id": "2", "text": "", "labels": None, "probs": None}
    result = call("predict", trained_run, "--language", "eng", *TEXTS)
    assert "1 text is blank and got no label: 2" in result.stderr


def test_predictions_of_the_run_s_own_test_rows_are_repeated(trained_run: Path):
    """The same texts, models and thresholds as the submission has: the same answers."""
    run = Run.open(trained_run)
    file = Path(run.settings["data"]) / "track_a" / "test" / "eng.csv"
    result = call("predict", run.path, "--file", file, "--language", "eng", "--format", "jsonl")
    rows = read_json(result)
    with run.pred_file("test", "eng").open(encoding="utf-8", newline="") as stream:
        submitted = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [row["id"] for row in submitted]
    for row, answer in zip(rows, submitted, strict=True):
        assert {label for label, v in answer.items() if v == "1"} == set(row["labels"])
    probs = run.read_probs("test", "eng").values
    np.testing.assert_allclose([list(row["probs"].values()) for row in rows], probs, atol=2e-6)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_lines_of_a_pipe_and_of_a_file_are_the_same(
    trained_run: Path, tmp_path: Path, answers: list[dict], ending: bytes
):
    data = b"\xef\xbb\xbf" + ending.join(text.encode() for text in TEXTS)
    file = tmp_path / "texts.txt"
    file.write_bytes(data)
    options = ("predict", trained_run, "--language", "eng", "--format", "jsonl")
    for result in (
        call(*options, "--file", file, "--batch-size", 2),
        call(*options, "-", stdin=data),
        call(*options, "--file", "-", stdin=data),
        call(*options, stdin=data + ending),
    ):
        rows = read_json(result)
        assert [row["text"] for row in rows] == TEXTS
        assert [row["labels"] for row in rows] == [row["labels"] for row in answers]


def test_csv_is_guarded_and_a_table_is_for_people(trained_run: Path):
    result = call("predict", trained_run, "--language", "deu", "--format", "csv", *TEXTS)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert rows[3]["text"] == "'=1+1 zappo"
    assert list(rows[0])[:3] == ["id", "text", "labels"]
    table = call("predict", trained_run, "--language", "deu", *TEXTS).stdout.splitlines()
    assert table[0].split() == [*Run.open(trained_run).task.all_labels, "text"]
    assert len(table) == 1 + len(TEXTS)


def test_one_fold_and_the_joint_thresholds(trained_run: Path, answers: list[dict]):
    options = ("predict", trained_run, "--format", "jsonl", TEXTS[0])
    parts = [read_json(call(*options, "--fold", fold)) for fold in (0, 1)]
    values = [list(part[0]["probs"].values()) for part in parts]
    mean = list(answers[0]["probs"].values())
    np.testing.assert_allclose(np.mean(values, axis=0), mean, atol=2e-6)
    assert not np.allclose(values[0], values[1], atol=1e-4)
    result = call(*options)
    assert "thresholds over all of eng deu decide" in result.stderr


def test_errors_say_what_to_do(trained_run: Path, tmp_path: Path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"fine\nnot \xff\xfe\n")
    cases = {
        ("--fold", "7", "x"): "no fold 7; it has folds 0 to 1",
        ("--language", "xyz", "x"): "language 'xyz' is not in task",
        ("--file", bad): f"{bad}, line 2: not UTF-8 (byte 5)",
        ("--file", tmp_path / "none.txt"): "cannot be read",
        ("--file", bad, "x"): "give texts or --file, not both",
    }
    for arguments, message in cases.items():
        result = call("predict", trained_run, *arguments)
        assert result.exit_code in (1, 2), result.output
        assert message in result.stderr
        assert "Traceback" not in result.output
    result = call("predict", tmp_path, "x")
    assert "no run here" in result.stderr


def test_answers_come_while_the_pipe_is_still_open(trained_run: Path):
    command = [sys.executable, "-m", "semeval_kit", "predict", str(trained_run), "-"]
    command += ["--language", "eng", "--format", "jsonl", "--batch-size", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"bara wondi\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == "bara wondi"
        process.stdin.close()
        assert process.wait(60) == 0


def test_help_is_quick_and_has_an_example():
    for command in ("predict", "explain"):
        result = call(command, "--help")
        assert "Example:" in result.output
    started = time.perf_counter()
    code = (
        "import sys; from click.testing import CliRunner; from semeval_kit.cli import main\n"
        "assert CliRunner().invoke(main, [sys.argv[1], '--help']).exit_code == 0\n"
        "assert not {'torch', 'transformers', 'shap', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    for command in ("predict", "explain"):
        subprocess.run([sys.executable, "-c", code, command], check=True)
    assert time.perf_counter() - started < 20
