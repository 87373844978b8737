"""Numbers of a run: the same as its files say, and as the official metrics give."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest

from semeval_kit.decision.estimate import choose_metric
from semeval_kit.errors import KitError
from semeval_kit.files import read_json, write_json
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_answers
from semeval_kit.show.results import read_results
from semeval_kit.submission.metrics import METRICS


def test_one_figure_has_one_set_of_digits(made_runs, make_run, tmp_path):
    holdout = make_run(tmp_path, name="holdout", holdout=0.3)
    for run in (*made_runs.values(), holdout):
        estimate = read_json(run.estimate_file)
        found = read_results(run, ["oof"], n_resamples=20)
        for rule, name in (("half", "at_half"), ("tuned", "cross_fitted")):
            score, reading = found.split_score("oof", rule), estimate[name]
            assert score.score == reading["score"]
            assert score.interval == (reading["low"], reading["high"])
            assert score.languages == reading["languages"]
            for label in score.labels if run.task.kind != "regression" else ():
                own = [t[label.label] for t in reading["labels"].values() if label.label in t]
                assert label.score == pytest.approx(np.mean(own), abs=1e-12)


def test_pages_read_what_tune_kept(made_run, tmp_path):
    run = Run.open(shutil.copytree(made_run.path, tmp_path / "run"))
    lines = run.oof_answers_file.read_text(encoding="utf-8").splitlines(keepends=True)
    assert lines[0].startswith("language,id,half:anger,half:fear")
    run.oof_answers_file.write_text("".join([*lines[:-1], lines[1]]), encoding="utf-8")
    with pytest.raises(KitError, match=r"is not what tuning wrote .* Run `semeval-kit tune"):
        read_answers(run, "oof")
    run.oof_answers_file.unlink()
    with pytest.raises(KitError, match="tuned by an older version. Run `semeval-kit tune"):
        read_answers(run, "oof")


@pytest.mark.slow
def test_no_page_tunes(made_run, tmp_path, monkeypatch):
    from semeval_kit.decision import estimate, thresholds, tuning
    from semeval_kit.show.card import write_card
    from semeval_kit.show.compare import Resampling, compare_runs
    from semeval_kit.show.paper import write_paper
    from semeval_kit.show.report import write_report

    def refuse(*_, **__):
        pytest.fail("a page tuned")

    for module, name in (
        (thresholds, "tune_thresholds"),
        (tuning, "tune_thresholds"),
        (tuning, "tune_intensity"),
        (tuning, "tune_rule"),
        (estimate, "tune_rule"),
        (estimate, "cross_fit"),
    ):
        monkeypatch.setattr(module, name, refuse)
    run = Run.open(shutil.copytree(made_run.path, tmp_path / "run"))
    write_report(run)
    write_card(run)
    write_paper(run)
    assert compare_runs([run], resampling=Resampling(20, 20)).entries[0].tuned.score > 0


def test_oof_rows_are_in_the_order_of_their_gold_labels(made_run):
    answers = read_answers(made_run, "oof")
    assert answers.examples.ids == made_run.read_oof().ids
    assert answers.examples.texts[1] == "=1+1"
    assert answers.gold.shape == (150, 5)
    assert set(np.unique(answers.tuned)) == {0, 1}


def test_dev_and_test_scores_are_the_official_metrics_of_the_predictions(made_run):
    results = read_results(made_run, n_resamples=50, by_label=False)
    for split in ("dev", "test"):
        answers = read_answers(made_run, split)
        found = results.split_score(split)
        assert found.measures["macro_f1"] == METRICS["macro_f1"](answers.gold, answers.tuned)
        assert found.measures["micro_f1"] == METRICS["micro_f1"](answers.gold, answers.tuned)
        low, high = found.interval
        assert low < found.score < high
    official = read_json(made_run.score_file)["languages"][0]["metrics"]["macro_f1"]
    assert results.split_score("test").score == official


def test_labels_have_precision_recall_and_support(made_run):
    results = read_results(made_run, ["dev"], n_resamples=50)
    answers = read_answers(made_run, "dev")
    label = results.split_score("dev").labels[1]
    gold, preds = answers.gold[:, 1] > 0, answers.tuned[:, 1] > 0
    assert label.label == "fear"
    assert label.positives == gold.sum()
    assert label.precision == (gold & preds).sum() / preds.sum()
    assert label.recall == (gold & preds).sum() / gold.sum()
    assert label.interval[0] <= label.score <= label.interval[1]


def test_languages_are_averaged_and_a_missing_label_does_not_count(made_runs):
    run = made_runs["two-languages"]
    found = read_results(run, ["dev"], n_resamples=50).split_score("dev")
    answers = read_answers(run, "dev")
    rows = {code: np.array(answers.examples.languages) == code for code in ("eng", "afr")}
    by_hand = [
        METRICS["macro_f1"](answers.gold[rows["eng"]], answers.tuned[rows["eng"]]),
        METRICS["macro_f1"](answers.gold[rows["afr"]][:, :4], answers.tuned[rows["afr"]][:, :4]),
    ]
    assert found.languages == {"eng": by_hand[0], "afr": by_hand[1]}
    assert found.score == pytest.approx(np.mean(by_hand))
    surprise = next(label for label in found.labels if label.label == "surprise")
    assert surprise.positives == answers.gold[rows["eng"]][:, 4].sum()
    assert surprise.interval[0] <= surprise.score <= surprise.interval[1]


def test_intensity_is_scored_by_pearson(made_runs):
    run = made_runs["intensity"]
    results = read_results(run, ["dev"], n_resamples=20)
    answers = read_answers(run, "dev")
    assert results.metric == "pearson_r"
    assert results.split_score("dev").score == METRICS["pearson_r"](answers.gold, answers.tuned)
    assert results.split_score("dev").labels[0].precision is None


def test_single_label_has_its_six_metrics(made_runs):
    results = read_results(made_runs["single"], ["dev"], n_resamples=0)
    assert choose_metric(results.task) == "accuracy"
    assert list(results.split_score("dev").measures) == [
        "accuracy",
        "weighted_precision",
        "weighted_recall",
        "weighted_f1",
        "macro_f1",
        "macro_auc",
    ]
    assert results.split_score("dev").interval is None


def test_folds_tell_their_best_epoch_time_and_memory(made_run):
    results = read_results(made_run, [])
    assert [fold.best_epoch for fold in results.folds] == [3, 3, 3]
    assert results.fold_values("train_loss") == pytest.approx([0.7 / 3] * 3)
    assert results.fold_values("val_loss") == pytest.approx([0.36, 0.37, 0.38])
    assert results.fold_values("macro_f1") == pytest.approx([0.77, 0.78, 0.79])
    assert results.seconds == 61.5 + 62.5 + 63.5
    assert results.peak_rss_mb == 920.0
    assert (results.encoder, results.parameters) == ("embedded", 22_700_000)


def test_a_test_split_without_gold_has_no_score(make_run, tmp_path):
    run = make_run(tmp_path, gold=False)
    assert read_answers(run, "test") is None
    assert set(read_results(run, n_resamples=0).splits) == {"oof", "dev"}


def test_a_dev_split_with_blank_labels_has_no_score(made_run, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(made_run.settings["data"], copy)
    shutil.copytree(made_run.path, tmp_path / "run")
    with (copy / "dev" / "eng.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    with (copy / "dev" / "eng.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *([*row[:2], *[""] * 5] for row in rows)])
    settings = {**made_run.settings, "data": str(copy)}
    write_json(tmp_path / "run" / "run.json", settings)
    assert read_answers(Run.open(tmp_path / "run"), "dev") is None


def test_data_that_changed_is_named(made_run, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(made_run.settings["data"], copy)
    shutil.copytree(made_run.path, tmp_path / "run")
    lines = (copy / "dev" / "eng.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "dev" / "eng.csv").write_text("".join(lines[:-1]), encoding="utf-8")
    settings = {**made_run.settings, "data": str(copy)}
    write_json(tmp_path / "run" / "run.json", settings)
    with pytest.raises(KitError, match=r": lacks 1 row of run run "):
        read_answers(Run.open(tmp_path / "run"), "dev")


def test_an_unknown_split_is_an_error(made_run):
    with pytest.raises(KitError, match="split 'train' is unknown"):
        read_answers(made_run, "train")
