"""A run of numbers from end to end: what its pages say, and that every command they print runs."""

from __future__ import annotations

import csv
import html
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr

from semeval_kit.cli import main
from semeval_kit.cli.main_job import run as run_command
from semeval_kit.cli.options import read_plan
from semeval_kit.decision.oof import read_oof_answers
from semeval_kit.files import read_json
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_rule
from semeval_kit.task.task import load_task

pytestmark = pytest.mark.trains

TASK = """
name = "ratings"
title = "Ratings of made-up pairs"
kind = "regression"
range = [1, 5]
train_languages = ["eng"]
predict_languages = ["eng"]

[labels]
default = ["average"]

[data]
id_column = "id"
text = "{story}"
pair = "{meaning}"
ignored_columns = ["stdev"]

[data.files]
train = ["train.csv"]
dev = ["dev.csv"]
test = ["test.csv"]

[submission]
member = "pred.csv"
id_column = "id"

[scoring]
metrics = ["within_sd", "spearman"]
spread_column = "stdev"
languages = ["eng"]
"""
WORDS = tuple(f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "no") for b in ("ra", "si", "tu"))
SIZES = {"train": 60, "dev": 24, "test": 12}


def write_ratings(folder: Path) -> None:
    """The task file and its data: ratings that no text tells, most of them near 4."""
    rng = np.random.default_rng(0)
    (folder / "ratings.toml").write_text(TASK, encoding="utf-8")
    for split, n_rows in SIZES.items():
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            labelled = split != "test"
            writer = csv.writer(file)
            writer.writerow(["id", "story", "meaning", *(["average", "stdev"] * labelled)])
            for row in range(n_rows):
                story, meaning = (" ".join(rng.choice(WORDS, 5)) for _ in range(2))
                rating = rng.choice([1.0, 3.6, 4.2], p=[0.3, 0.35, 0.35])
                cells = [f"{rating}", "0.5"] if labelled else []
                writer.writerow([f"{split}{row}", story, meaning, *cells])


def call(*words: str) -> str:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def ratings(build_once: Callable[..., Path]) -> Path:
    """A folder with task, data, and a finished run of n-grams in submissions/mine."""

    def make(folder: Path) -> None:
        write_ratings(folder)
        said = call(
            *("run", "--task", str(folder / "ratings.toml"), "--data", str(folder)),
            *("--submissions", str(folder / "submissions"), "--run", "mine"),
            *("--model", "tfidf", "--folds", "2", "--langs", "eng"),
        )
        (folder / "said.txt").write_text(said, encoding="utf-8")

    return build_once("ratings", make)


@pytest.fixture
def run(ratings: Path) -> Run:
    return Run.open(ratings / "submissions" / "mine")


def test_a_constant_that_is_no_worse_is_told_everywhere(ratings: Path, run: Run) -> None:
    estimate = read_json(run.estimate_file)
    (floor,) = estimate["verdict"]["floors"]
    own, answer = estimate["cross_fitted"]["score"], floor["answer"]["average"]
    with (ratings / "dev.csv").open(encoding="utf-8") as file:
        dev = np.array([float(row["average"]) for row in csv.DictReader(file)])
    on_dev = float((np.abs(dev - answer) < 1).mean())
    assert floor["name"] == "the same number for every row"
    assert own <= floor["score"]
    said = (ratings / "said.txt").read_text(encoding="utf-8")
    assert f"held against: the same number for every row {floor['score']:.4f}\n" in said
    reason = f"the same number for every row scores {floor['score']:.4f}, the run {own:.4f}"
    assert reason in said
    assert f"the same number for every row {on_dev:.4f})" in said
    told = f"On dev the same number for every row (average {answer:.3g}) scores {on_dev:.4f}"
    assert told in said
    page = run.report_file.read_text(encoding="utf-8")
    assert reason in page
    assert told in page
    assert f"the same number for every row: {on_dev:.4f}" in page
    card = run.card_file.read_text(encoding="utf-8")
    assert (
        f"| the same number for every row | {floor['score']:.4f} | {own - floor['score']:+.4f}"
        in card
    )
    assert told in card


def test_every_metric_of_the_task_file_is_shown(ratings: Path, run: Run) -> None:
    said = (ratings / "said.txt").read_text(encoding="utf-8")
    card = run.card_file.read_text(encoding="utf-8")
    assert "out of fold also: Spearman rho" in said
    assert "rows; also Spearman rho" in said
    assert "| split | accuracy within sd | Spearman rho |" in card


def test_parts_with_lines_of_their_own_are_ranked_by_the_numbers_as_they_are(
    ratings: Path, run: Run
) -> None:
    """One line is uploaded, which moves no rank; out of fold each part has another one."""
    oof = run.read_oof()
    with (ratings / "train.csv").open(encoding="utf-8") as file:
        gold = {row["id"]: float(row["average"]) for row in csv.DictReader(file)}
    rho = spearmanr(oof.values[:, 0], [gold[row] for row in oof.ids]).statistic
    kept = read_oof_answers(run.oof_answers_file, read_json(run.estimate_file)["answers_sha256"])
    by_parts = spearmanr(kept.tuned[:, 0], [gold[row] for row in kept.ids]).statistic
    assert abs(rho - by_parts) > 0.001
    said = (ratings / "said.txt").read_text(encoding="utf-8")
    assert f"out of fold also: Spearman rho {rho:.4f}" in said
    card = run.card_file.read_text(encoding="utf-8")
    assert re.search(rf"^\| out of fold \| [0-9.]+ \| {rho:.4f} \|", card, re.MULTILINE)


def test_what_is_said_of_a_run_that_has_not_learnt_fits_its_kind(ratings: Path) -> None:
    said = (ratings / "said.txt").read_text(encoding="utf-8")
    assert "1. Not learnt. The same number for every row scores" in said
    assert "Likely causes: n-grams do not tell these texts apart, or there are few rows." in said
    assert "Next: fine-tune an encoder (--model embedded); an upload would be wasted." in said
    assert "longer" not in said
    assert "learning rate" not in said


def test_every_command_of_report_card_and_terminal_runs(
    ratings: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ratings)
    card = run.card_file.read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?)```", card, re.DOTALL)
    (shown,) = block.splitlines()  # numbers are not exported
    printed, _, command = shown.partition(" | ")
    text = subprocess.run(["bash", "-c", printed], capture_output=True, check=True).stdout
    assert text.count(b"\t") == 1
    program, *words = shlex.split(command)
    answer = CliRunner().invoke(main, words, input=text)
    assert (program, answer.exit_code) == ("semeval-kit", 0), answer.output
    assert re.search(r"^ *average +text\n +[1-5]\.\d{3} +I never thought", answer.output)
    page = run.report_file.read_text(encoding="utf-8")
    shown = re.findall(r"<code>(<span>semeval-kit.*?)</code>", page)
    said = (ratings / "said.txt").read_text(encoding="utf-8")
    commands = re.findall(r"^ +(semeval-kit .*)$", said, re.MULTILINE)
    assert len(commands) == len(shown) > 0
    for text in [*(html.unescape(re.sub("<.*?>", "", one)) for one in shown), *commands]:
        program, name, *words = shlex.split(text.replace(" DATA ", f" {ratings} "))
        assert (program, name) == ("semeval-kit", "run")
        given = run_command.make_context("run", words).params
        engine = {"gold", "report", "per_language"}
        _, plan = read_plan({key: value for key, value in given.items() if key not in engine})
        assert load_task(plan.task).name == "ratings"
        assert plan.config.encoder == "embedded"
        assert plan.data.resolve() == ratings.resolve()


def test_a_blend_has_its_report_and_reads_pairs(ratings: Path, tmp_path: Path) -> None:
    mine, other = (tmp_path / "submissions" / name for name in ("mine", "other"))
    for folder in (mine, other):
        shutil.copytree(ratings / "submissions" / "mine", folder)
    place = ("--submissions", str(tmp_path / "submissions"))
    said = call("blend", str(mine), str(other), "--to", "both", "--weight", "mine=0.5", *place)
    both = Run.open(tmp_path / "submissions" / "both")
    assert f"report:  {both.report_file}\n" in said
    assert both.report_file.is_file()
    assert "on 60 rows, cross-fitted (95%)" in said
    assert "word n-grams and ridge regression" in said
    assert "(not --model tfidf, which reads characters, too)" in said
    # What is in the blend already would not help it.
    assert "Another member" not in said
    card = both.card_file.read_text(encoding="utf-8")
    assert "| semeval-kit predict submissions/both -" in card
    assert "semeval-kit export" not in card
    line = "bara kisi\tdotu meme"
    alone, together = (call("predict", str(run), line) for run in (mine, both.path))
    assert together == alone  # twice the same member


def test_numbers_are_spelled_in_every_format(ratings: Path) -> None:
    run, line = ratings / "submissions" / "mine", "bara kisi\tdotu meme"
    (row,) = [
        json.loads(text)
        for text in call("predict", str(run), line, "--format", "jsonl").splitlines()
    ]
    assert 1 <= row["labels"]["average"] <= 5
    table = call("predict", str(run), line).splitlines()
    assert table[1].split()[0] == f"{row['labels']['average']:.3f}"
    (cells,) = csv.DictReader(call("predict", str(run), line, "--format", "csv").splitlines())
    assert cells["labels"] == f"average={row['labels']['average']:.6g}"
    line = read_rule(Run.open(run)).line
    assert line is not None
    (answer,) = line.apply(np.array([1 + 4 * row["probs"]["average"]]))
    assert row["labels"]["average"] == pytest.approx(answer, abs=1e-4)


def test_a_line_that_gains_is_told_and_moves_what_is_packed(ratings: Path, run: Run) -> None:
    estimate, line = read_json(run.estimate_file), read_rule(run).line
    assert line is not None
    plain, tuned = (estimate[name]["score"] for name in ("at_half", "cross_fitted"))
    assert (estimate["rule"], plain < tuned) == ("line", True)
    said = (ratings / "said.txt").read_text(encoding="utf-8")
    assert re.search(rf"^  the predicted numbers +{plain:.4f} \[", said, re.MULTILINE)
    assert re.search(rf"^  tuned, cross-fitted +{tuned:.4f} \[", said, re.MULTILINE)
    probs = run.read_probs("test", "eng").values
    with run.pred_file("test", "eng").open(encoding="utf-8") as file:
        packed = [float(row["average"]) for row in csv.DictReader(file)]
    assert packed == pytest.approx(line.apply(1 + 4 * probs)[:, 0].tolist(), abs=1e-5)
    assert len(set(packed)) > 1
    told = "moved by a slope and an intercept that are tuned on out-of-fold rows"
    page = run.report_file.read_text(encoding="utf-8")
    assert told in page
    for name, value in (("slope", line.slopes[0]), ("intercept", line.intercepts[0])):
        assert re.search(rf"<th[^>]*>{name}</th>", page)
        assert re.search(rf"<td[^>]*>{value:.3f}</td>", page)
    call("paper", str(run.path))
    (text,) = run.paper_dir.glob("*.md")
    paper = text.read_text(encoding="utf-8")
    assert told in paper
    assert f"| out of fold, as predicted | 60 | {plain:.4f}" in paper
    assert f"| out of fold, tuned, cross-fitted | 60 | {tuned:.4f}" in paper
