from __future__ import annotations

import csv
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.run.directory import Run

pytestmark = pytest.mark.trains

HOSTILE = "<img src=x onerror=alert(1)> wondi </script><script>alert(2)</script> =1+1"


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Run:
    """A copy of the run, whose weights are links."""
    copy = tmp_path / "my-run"
    shutil.copytree(trained_run, copy, copy_function=os.link)
    return Run.open(copy)


def explain(run: Run, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["explain", str(run.path), *map(str, arguments)])


def read_paths(result: Result) -> list[Path]:
    assert result.exit_code == 0, result.output
    return [Path(line) for line in result.stdout.splitlines()]


def test_texts_of_one_s_own(run: Run, browser: Any):
    result = explain(
        run, "--text", "bara wondi dora", "--text", HOSTILE, "--text", "", "--language", "eng"
    )
    page, pictures = read_paths(result)
    times = r"loading [\d.]+ s, explaining [\d.]+ s, page and figures [\d.]+ s"
    assert re.search(f"3 texts, the mean of 2 folds: {times}\n", result.stderr)
    assert (page, pictures) == (run.explain_dir / "texts.html", run.explain_dir / "texts")
    labels = run.task.all_labels
    assert sorted(path.name for path in pictures.iterdir()) == sorted(
        f"text-{n}_{label}.{end}" for n in (1, 2, 3) for label in labels for end in ("png", "svg")
    )
    view = browser.open(page, width=390)
    assert view.errors == []
    assert view.foreign == []
    texts = view.evaluate("[...document.querySelectorAll('.text')].map(t => t.textContent)")
    assert texts == ["bara wondi dora", HOSTILE, ""]
    titles = view.evaluate("[...document.querySelectorAll('h2')].map(t => t.textContent)")
    assert titles == ["Text 1", "Text 2", "Text 3"]
    assert "the mean of 2 folds" in view.evaluate("document.body.textContent")


def test_the_page_says_what_predict_says(run: Run, browser: Any):
    (page,) = read_paths(
        explain(run, "--text", "mourno lusi", "--language", "deu", "--no-figures", "--fold", 1)
    )
    table = CliRunner().invoke(
        main,
        ["predict", str(run.path), "mourno lusi", "--language", "deu"]
        + ["--fold", "1", "--format", "csv"],
    )
    (answer,) = csv.DictReader(table.stdout.splitlines())
    view = browser.open(page)
    rows = view.evaluate(
        "[...document.querySelectorAll('.answers tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    for label, base, prob, threshold in rows:
        assert prob == f"{float(answer[label]):.3f}"
        assert 0 < float(base) < 1
        assert (threshold[0] == "≥") == (label in answer["labels"].split("|"))
    shown = view.evaluate("document.querySelector('article strong').textContent")
    assert shown == (answer["labels"].replace("|", ", ") or "no label")
    # What the page holds adds up: base + contributions = probability.
    values = view.evaluate(
        "[...document.querySelectorAll('.piece')].map(p => p.dataset.values.split(' ').map(Number))"
    )
    moved = [float(prob) - float(base) for _, base, prob, _ in rows]
    np.testing.assert_allclose(np.sum(values, axis=0), moved, atol=2e-3)


@pytest.mark.parametrize("method", ["shap", "ig"])
def test_rows_and_ids_of_a_split_give_the_same_bytes(run: Run, method: str):
    options = ("--split", "dev", "--rows", "2,4-5", "--ids", "deu_dev_track_a_00001")
    options += ("--method", method, "--max-evals", 20, "--language", "deu")
    options = (*options, "--no-figures")
    (page,) = read_paths(explain(run, *options))
    first = page.read_bytes()
    assert page.name == "dev.html"
    html = first.decode()
    order = [html.index(f"deu_dev_track_a_0000{n}<") for n in (2, 4, 5, 1)]
    assert order == sorted(order)
    assert "eng_dev" not in html
    (page,) = read_paths(explain(run, *options, "--name", "again"))
    assert page.name == "again.html"
    assert page.read_bytes() == first


def test_rows_of_several_languages_have_their_own_thresholds(run: Run):
    (page,) = read_paths(
        explain(run, "--split", "dev", "--rows", "1,11", "--max-evals", 10, "--no-figures")
    )
    html = page.read_text(encoding="utf-8")
    assert html.index("eng_dev_track_a_00001") < html.index("deu_dev_track_a_00001")
    # English has no disgust, so no threshold for it; German has.
    assert html.count("<td>–</td>") == 1


def test_global_view_over_a_sample(run: Run):
    options = ("--global", 6, "--max-evals", 12, "--seed", 4)
    paths = read_paths(explain(run, *options))
    assert [path.name for path in paths] == [
        "global-dev.csv",
        "global-dev.png",
        "global-dev.svg",
    ]
    first = [path.read_bytes() for path in paths]
    with paths[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == set(run.task.all_labels)
    one_label = [row for row in rows if row["label"] == "joy"]
    words = sum(len(t.split()) for t in run.read_split("dev").texts)
    assert 6 < sum(int(row["occurrences"]) for row in one_label) < words
    assert [path.read_bytes() for path in read_paths(explain(run, *options))] == first
    other = read_paths(explain(run, *options[:-1], 5, "--name", "other"))
    assert other[0].read_bytes() != first[0]
    more = explain(run, "--global", 999, "--split", "test", "--max-evals", 4, "--method", "ig")
    assert read_paths(more)[0].name == "global-test.csv"


def test_files_with_one_text_per_line_or_in_the_organisers_layout(run: Run, tmp_path: Path):
    lines = tmp_path / "texts.txt"
    lines.write_text("bara wondi\nlusi mourno\n", encoding="utf-8")
    options = ("--max-evals", 8, "--no-figures", "--language", "eng")
    (page,) = read_paths(explain(run, "--file", lines, *options))
    assert page.read_text(encoding="utf-8").count("<article>") == 2
    table = Path(run.settings["data"]) / "track_a" / "test" / "eng.csv"
    (page,) = read_paths(explain(run, "--file", table, *options))
    assert "eng_test_track_a_00003" in page.read_text(encoding="utf-8")


def test_progress_is_on_stderr(run: Run):
    result = explain(
        run, "--text", "bara wondi", "--max-evals", 8, "--no-figures", "--language", "eng"
    )
    assert "explain" in result.stderr
    assert "16/16" in result.stderr or "eval" in result.stderr
    assert result.stdout.splitlines() == [str(run.explain_dir / "texts.html")]


def test_errors_say_what_to_do(run: Run):
    cases = {
        (): "give --text, --file, --split with --rows or --ids, or --global",
        ("--split", "dev"): "give --text, --file, --split with --rows or --ids",
        ("--text", "x", "--split", "dev", "--rows", "1"): "or rows of a split, not both",
        ("--global", "3", "--rows", "1"): "--global draws its rows itself",
        ("--split", "dev", "--rows", "0"): "--rows '0': expected a row such as 3",
        ("--split", "dev", "--rows", "x"): "--rows 'x': expected a row such as 3",
        ("--split", "dev", "--rows", "21"): "--rows 21: dev has 20 rows",
        ("--split", "dev", "--rows", "1-999"): "at most 200 rows",
        ("--split", "dev", "--rows", ","): "name no row",
        ("--split", "dev", "--ids", "<x>"): "--ids <x>: no row of dev has this id",
        ("--text", "x", "--name", "../x", "--language", "eng"): "cannot be a file name here",
        ("--text", "x", "--language", "nope"): "language 'nope' is not in task",
        ("--text", "x", "--language", "eng", "--fold", "5"): "no fold 5",
        ("--text", "x", "--max-evals", "1"): "is not in the range",
        ("--text", "x", "--method", "lime"): "is not one of 'shap', 'ig'",
    }
    for arguments, message in cases.items():
        result = explain(run, *arguments)
        assert result.exit_code in (1, 2), (arguments, result.output)
        assert message in result.stderr.replace("\n", " "), (arguments, result.stderr)
    assert not run.explain_dir.exists()


def test_without_thresholds_a_half_decides_and_that_is_said(run: Run):
    run.thresholds_file.unlink()
    result = explain(run, "--text", "bara", "--language", "eng", "--max-evals", 8, "--no-figures")
    (page,) = read_paths(result)
    assert "no thresholds yet, so 0.5 decides" in result.stderr
    assert " 0.500</td>" in page.read_text(encoding="utf-8")
