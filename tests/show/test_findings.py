"""What would score higher: each finding by the numbers that it was made from."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from semeval_kit.decision.oof import OofAnswers, write_oof_answers
from semeval_kit.files import read_json, write_json, write_kept
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_answers
from semeval_kit.show.findings import list_findings
from semeval_kit.show.mistakes import find_hardest, find_wrong
from semeval_kit.show.report import render_report
from semeval_kit.show.results import read_results


def find(run: Run) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Title -> sentence and commands of every finding of a run."""
    oof = read_answers(run, "oof")
    results = read_results(run, ["oof"], answers={"oof": oof}, n_resamples=0)
    return {f.title: (f.sentence, f.commands) for f in list_findings(run, results, oof)}


@pytest.fixture
def run(make_run, tmp_path) -> Run:
    return make_run(tmp_path, name="mine", quality=0.9)


def test_validation_loss_that_rises_asks_for_fewer_epochs(run):
    sentence, (command,) = find(run)["Overfitting"]
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
    sentence, (command,) = find(run)["Weakest label"]
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
    sentence, (command,) = find(run)["Another member"]
    assert command == "semeval-kit blend submissions/mine submissions/other --to mine-blend"
    own, theirs = read_answers(run, "oof"), read_answers(other, "oof")
    mean = (own.probs.values + theirs.probs.values) / 2
    together, alone = (
        np.mean([average_precision_score(own.gold[:, j], probs[:, j]) for j in range(5)])
        for probs in (mean, own.probs.values)
    )
    assert together > alone + 0.002
    assert sentence == (
        "The mean of its probabilities with those of other ranks the rows better: mean average "
        f"precision {together:.4f} out of fold instead of {alone:.4f}."
    )


def test_a_blend_beside_a_run_is_no_member_for_it(make_run, run, tmp_path):
    other = make_run(tmp_path, name="other", quality=0.9, seed=5)
    settings = read_json(other.settings_file)
    write_json(other.settings_file, {**settings, "member": "blend"})
    assert "Another member" not in find(run)


@pytest.mark.parametrize(
    ("encoders", "asked"),
    [
        (("embedded", "frozen:embedded"), "--model tfidf"),
        (("embedded", "tfidf"), "--model frozen:embedded"),
        (("microsoft/mpnet-base", "tfidf", "frozen:embedded"), "--model embedded"),
        (("embedded", "tfidf", "frozen:embedded"), None),
    ],
)
def test_a_blend_is_advised_what_it_does_not_have(encoders, asked, make_run, tmp_path):
    blend = make_run(tmp_path, name="blend", quality=0.9)
    places = {}
    for number, encoder in enumerate(encoders):
        member = make_run(tmp_path / "members", name=f"member-{number}", encoder=encoder)
        places[member.name] = os.path.relpath(member.path, blend.path)
    write_json(blend.settings_file, {**read_json(blend.settings_file), "member": "blend"})
    weights = {"names": list(places), "places": {**places, "gone": "../gone"}}
    write_json(blend.weights_file, weights)
    sentence, commands = find(Run(blend.path))["Weakest label"]
    if asked is None:
        assert commands == ()
        assert sentence.endswith(" Its worst rows stand under Mistakes.")
    else:
        assert commands[0].endswith(asked)
        assert commands[1].startswith("semeval-kit blend submissions/blend submissions/blend-")


def test_every_kind_has_findings_with_numbers(made_runs, tmp_path):
    for name in ("strong", "intensity", "single", "two-languages", "numbers"):
        alone = Run(shutil.copytree(made_runs[name].path, tmp_path / name / "alone"))
        findings = find(alone)
        answer = "number" if name == "numbers" else "label"
        assert {"Overfitting", f"Weakest {answer}"} <= set(findings)
        assert f"is the weakest {answer}: " in findings[f"Weakest {answer}"][0]
        for sentence, commands in findings.values():
            assert any(char.isdigit() for char in sentence)
            assert all(command.startswith("semeval-kit ") for command in commands)
        asked = [command for _, commands in findings.values() for command in commands]
        assert len(asked) == len(set(asked)) > 0


@pytest.mark.parametrize(
    ("seeds", "said", "asked"), [(1, "1 seed", "--seed 1"), (2, "2 seeds", "--seed 2")]
)
def test_members_that_would_help_are_told_with_the_seeds_that_are_there(
    seeds, said, asked, make_run, tmp_path
):
    run = make_run(tmp_path, name="mine", recipe={"seeds": seeds, "refold": True})
    sentence, (command, blend) = find(run)["More members"]
    assert sentence.startswith(f"This is one encoder with {said}; its folds' macro-F1 lies between")
    assert command.endswith(asked)
    name = asked.strip("-").replace(" ", "-")
    assert f"--run mine-{name} " in command
    assert blend == (
        f"semeval-kit blend submissions/mine submissions/mine-{name} --to mine-with-{name}"
    )
    assert run.seeds == ("seed 0" if seeds == 1 else "seeds 0 to 1")


def test_a_command_that_two_findings_ask_for_stands_once(make_run, tmp_path):
    """Few positives and thresholds far from 0.5 both ask for weighted positives."""
    run = make_run(tmp_path, name="mine", quality=0.9)
    thresholds = read_json(run.thresholds_file)
    thresholds["joint"] = [0.1, 0.2, 0.25, 0.5, 0.5]
    write_json(run.thresholds_file, thresholds)
    found = find(run)
    assert [
        command.endswith("--positive-weight sqrt") for command in found["Weakest label"][1]
    ] == [True]
    sentence, commands = found["Thresholds far from 0.5"]
    assert sentence.startswith(
        "3 of 5 thresholds lie far from 0.5 (anger 0.10, fear 0.20, joy 0.25)"
    )
    assert sentence.endswith(" The command of “Weakest label” tries that, too.")
    assert commands == ()


def answer_rightly(run: Run) -> None:
    """Make every out-of-fold answer of a run right, and its score perfect."""
    oof = read_answers(run, "oof")
    labels, gold = run.task.all_labels, oof.gold.astype(int)
    examples = oof.examples
    right = OofAnswers(examples.ids, examples.languages, labels, gold, gold)
    estimate = read_json(run.estimate_file)
    for name in ("at_half", "tuned_in_sample", "cross_fitted"):
        estimate[name] |= {"score": 1.0, "low": 1.0, "high": 1.0, "languages": {"eng": 1.0}}
    estimate["answers_sha256"] = write_oof_answers(run.oof_answers_file, right)
    write_json(run.estimate_file, estimate)


def test_at_a_perfect_score_nothing_is_advised_and_no_mistake_listed(run):
    assert find(run)
    assert find_hardest(run.task, read_answers(run, "oof"))
    answer_rightly(run)
    assert find(run) == {}
    oof = read_answers(run, "oof")
    assert find_hardest(run.task, oof) == []
    assert find_wrong(run.task, oof) == []


@pytest.mark.slow
def test_the_page_of_a_perfect_score_says_that_there_are_no_mistakes(run):
    answer_rightly(run)
    page = render_report(run)
    assert "<p>None: every out-of-fold answer is right.</p>" in page
    assert "What would score higher?" not in page
    other = {"metric": "spearman", "cross_fitted": {"score": 0.5, "low": 0.4, "high": 0.6}}
    write_json(run.estimate_file, {**read_json(run.estimate_file), "targets": {"valence": other}})
    page = render_report(Run.open(run.path))
    assert "<p>None: every out-of-fold answer to main is right.</p>" in page


def test_what_is_listed_as_a_mistake_is_one(made_runs):
    for name in ("weak", "intensity", "single"):
        run = made_runs[name]
        oof = read_answers(run, "oof")
        row_of = {id_: row for row, id_ in enumerate(oof.examples.ids)}
        for example in find_hardest(run.task, oof, 200):
            assert example.gold != example.pred
        for wrong in find_wrong(run.task, oof, 200):
            row = row_of[wrong.id]
            label = run.task.all_labels.index(wrong.target.partition(">=")[0])
            columns = slice(None) if run.task.kind == "singlelabel" else [label]
            assert (oof.tuned[row, columns] != oof.gold[row, columns]).any()
        assert len(find_hardest(run.task, oof, 200)) < len(oof)
