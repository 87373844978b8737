"""What would score higher: each finding by the numbers that it was made from."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from semeval_kit.files import write_kept
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_answers
from semeval_kit.show.findings import list_findings
from semeval_kit.show.results import read_results


def find(run: Run) -> dict[str, tuple[str, str]]:
    """Title -> sentence and command of every finding of a run."""
    oof = read_answers(run, "oof")
    results = read_results(run, ["oof"], answers={"oof": oof}, n_resamples=0)
    return {f.title: (f.sentence, f.command) for f in list_findings(run, results, oof)}


@pytest.fixture
def run(make_run, tmp_path) -> Run:
    return make_run(tmp_path, name="mine", quality=0.9)


def test_validation_loss_that_rises_asks_for_fewer_epochs(run):
    sentence, command = find(run)["Overfitting"]
    assert sentence.startswith(
        "Validation loss is lowest after epoch 3 (0.370) and rises to 0.420 by epoch 4:"
    )
    assert sentence.endswith("or more dropout (macro-F1 0.750, then 0.730).")
    assert command == (
        "semeval-kit run --task submissions/mine/task.toml --data DATA --langs eng "
        "--recipe submissions/mine/recipe.toml --run mine-3-epochs --epochs 3"
    )


def test_validation_loss_that_rises_with_the_score_is_no_fault(run):
    for fold in range(run.n_folds):
        rows = [json.loads(line) for line in run.history_file(fold).read_text().splitlines()]
        rows[-1]["macro_f1"] = rows[-2]["macro_f1"] + 0.01
        write_kept(run.history_file(fold), "".join(json.dumps(row) + "\n" for row in rows))
    assert "Overfitting" not in find(run)


def test_the_weakest_label_and_what_it_is_taken_for(run):
    sentence, command = find(run)["Weakest label"]
    oof = read_answers(run, "oof")
    results = read_results(run, ["oof"], n_resamples=0)
    weakest = min(results.split_score("oof").labels, key=lambda label: label.score)
    column = run.task.all_labels.index(weakest.label)
    assert sentence.startswith(
        f"“{weakest.label}” is the weakest label: F1 {weakest.score:.3f}, "
        f"{int((oof.gold[:, column] == 1).sum())} positives of 150 rows, "
        f"recall {weakest.recall:.2f}, precision {weakest.precision:.2f}."
    )
    assert command.endswith("--run mine-weighted --positive-weight sqrt")


def test_a_run_beside_it_that_would_help_is_named_with_both_scores(make_run, run, tmp_path):
    assert "More members" in find(run)
    other = make_run(tmp_path, name="other", quality=0.9, seed=5)
    sentence, command = find(run)["Another member"]
    assert command == "semeval-kit blend submissions/mine submissions/other --to mine-blend"
    own, theirs = read_answers(run, "oof"), read_answers(other, "oof")
    mean = (own.probs.values + theirs.probs.values) / 2
    together = np.mean(
        [
            2
            * ((mean[:, j] >= 0.5) & (own.gold[:, j] == 1)).sum()
            / ((mean[:, j] >= 0.5).sum() + (own.gold[:, j] == 1).sum())
            for j in range(5)
        ]
    )
    alone = json.loads(run.estimate_file.read_text(encoding="utf-8"))["at_half"]["score"]
    assert sentence == (
        f"The mean of its probabilities with those of other scores {together:.4f} at 0.5 instead "
        f"of {alone:.4f}."
    )


def test_every_kind_has_findings_with_numbers(made_runs, tmp_path):
    for name in ("strong", "intensity", "single", "two-languages", "numbers"):
        alone = Run(shutil.copytree(made_runs[name].path, tmp_path / name / "alone"))
        findings = find(alone)
        assert {"Overfitting", "Weakest label"} <= set(findings)
        for sentence, command in findings.values():
            assert any(char.isdigit() for char in sentence)
            assert command.startswith("semeval-kit ")


@pytest.mark.parametrize(
    ("seeds", "said", "asked"), [(1, "1 seed", "--seed 1"), (2, "2 seeds", "--seed 2")]
)
def test_members_that_would_help_are_told_with_the_seeds_that_are_there(
    seeds, said, asked, make_run, tmp_path
):
    run = make_run(tmp_path, name="mine", recipe={"seeds": seeds, "refold": True})
    sentence, command = find(run)["More members"]
    assert sentence.startswith(f"This is one encoder with {said}; its folds' macro-F1 lies between")
    assert command.endswith(asked)
    assert run.seeds == ("seed 0" if seeds == 1 else "seeds 0 to 1")
