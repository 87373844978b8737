"""The scorer: equal to the official program, digit for digit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from semeval_kit.errors import KitError
from semeval_kit.submission.score import score_submission
from semeval_kit.task.task import load_task

HEADER = "id,anger,fear,joy\n"
IDS = [f"eng_test_track_a_{i}" for i in (1, 2, 3)]
RIGHT = HEADER + f"{IDS[0]},1,0,0\n{IDS[1]},0,1,1\n{IDS[2]},0,0,1\n"


def lay_down(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


def check_vectors(task, vectors, folder):
    for i, vector in enumerate(vectors):
        gold = lay_down(folder / f"gold{i}", vector["gold"])
        score = score_submission(task, lay_down(folder / f"pred{i}", vector["pred"]), gold)
        assert score.scores == vector["scores"], vector["name"]
        assert score.accepted == vector["accepted"], vector["name"]
        assert score.message == vector["message"], vector["name"]


@pytest.mark.parametrize("track", ["a", "b", "c"])
def test_a_sample_of_the_official_programs_answers_is_met(tmp_path, track):
    """40 of the 120 recorded answers of a track, of every kind; their labels are random."""
    lines = (Path(__file__).parent / f"vectors/track_{track}.jsonl").read_text().splitlines()
    vectors = [json.loads(line) for line in lines]
    assert len(vectors) == 40
    assert len({vector["name"].split("-")[1] for vector in vectors}) >= 25
    check_vectors(load_task(f"semeval2025-task11-{track}"), vectors, tmp_path)


@pytest.mark.parametrize("track", ["a", "b", "c"])
def test_every_recorded_answer_of_the_official_program_is_met(scorer_vectors, tmp_path, track):
    vectors = json.loads((scorer_vectors / f"track_{track}.json").read_text())
    assert len(vectors) == 120
    check_vectors(load_task(f"semeval2025-task11-{track}"), vectors, tmp_path)


def test_scores_carry_the_average_over_all_languages(task, gold, make_zip):
    score = score_submission(task, make_zip({"track_a/pred_eng.csv": RIGHT}), gold)
    assert score.accepted
    assert score.scores == {
        "avg_macro_f1": 0.333333,
        "avg_micro_f1": 0.333333,
        "languages_scored": 1,
        "eng_macro_f1": 1.0,
    }
    assert score.denominator == 3
    assert score.missing == ("deu", "ron")


def test_detail_per_label(task, gold, make_zip):
    wrong = HEADER + f"{IDS[0]},1,1,0\n{IDS[1]},0,1,0\n{IDS[2]},0,0,1\n"
    score = score_submission(task, make_zip({"pred_eng.csv": wrong}), gold)
    anger, fear, joy = score.languages[0].labels
    assert (anger.support, anger.predicted, anger.f1) == (1, 1, 1.0)
    assert (fear.support, fear.predicted, fear.precision, fear.recall) == (1, 2, 0.5, 1.0)
    assert (joy.support, joy.predicted, joy.precision, joy.recall) == (2, 1, 1.0, 0.5)
    assert score.languages[0].metrics["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_gold_may_be_one_file_or_the_layout_of_the_test_files(task, gold, make_zip, tmp_path):
    submission = make_zip({"pred_eng.csv": RIGHT})
    assert score_submission(task, submission, gold / "eng.csv").scores["eng_macro_f1"] == 1.0
    (tmp_path / "data/test").mkdir(parents=True)
    rows = "".join(f"{row.replace(',', ',a text;,', 1)}\n" for row in RIGHT.splitlines()[1:])
    (tmp_path / "data/test/eng.csv").write_text("id,text,anger,fear,joy\n" + rows)
    assert score_submission(task, submission, tmp_path / "data").scores["eng_macro_f1"] == 1.0


def test_blank_gold_is_an_error_that_says_so(task, gold, make_zip):
    (gold / "eng.csv").write_text(HEADER + "".join(f"{row_id},,,\n" for row_id in IDS))
    with pytest.raises(KitError, match=r"eng\.csv: labels are blank, so there is nothing to score"):
        score_submission(task, make_zip({"pred_eng.csv": RIGHT}), gold)


def test_a_language_without_gold_is_told_and_not_scored(task, gold, make_zip):
    members = {"pred_eng.csv": RIGHT, "pred_ron.csv": HEADER + "ron_1,0,0,0\n"}
    score = score_submission(task, make_zip(members), gold)
    assert score.unscored == ("ron",)
    assert score.scores["languages_scored"] == 1
    assert "ron: not scored, since there is no gold for it" in score.warnings[0]
    with pytest.raises(KitError, match=r"no gold for the submission's languages \(ron\)"):
        score_submission(task, make_zip({"pred_ron.csv": HEADER + "ron_1,0,0,0\n"}), gold)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"pred_eng.csv": HEADER + f"{IDS[0]},1,0\n{IDS[1]},0,1,1\n{IDS[2]},0,0,1\n"}, "'None'"),
        ({"pred_eng.csv/x.txt": "x"}, "IsADirectoryError"),
        ({"pred_eng.csv": "\n" + RIGHT}, "invalid header []"),
        ({"pred_pred_eng.csv": RIGHT}, "Unsupported prediction files for languages: pred_eng"),
        (
            {"pred_eng.csv": RIGHT.replace("_test_", "_dev_") + "eng_dev_9,0,0,0\n"},
            "received 4 rows. This looks like a dev-vs-test mismatch",
        ),
        ({"pred_eng.csv": b"\xff" + RIGHT.encode()}, "'utf-8' codec can't decode byte 0xff"),
        ({"pred_eng.csv": HEADER.replace("id", "ID") + "x,0,0,0\n"}, "KeyError: 'id'"),
    ],
)
def test_rejections_beyond_the_recorded_ones(task, gold, make_zip, members, message):
    score = score_submission(task, make_zip(members), gold)
    assert not score.accepted
    assert message in score.message
    assert score.scores == {"avg_macro_f1": 0.0, "avg_micro_f1": 0.0, "languages_scored": 0}
    assert "One bad file rejects the whole submission" in score.explanation


def test_the_last_of_two_files_of_a_language_counts(task, gold, make_zip):
    zeros = HEADER + "".join(f"{row_id},0,0,0\n" for row_id in IDS)
    path = make_zip({"b/pred_eng.csv": RIGHT, "a/pred_eng.csv": zeros})
    assert score_submission(task, path, gold).scores["eng_macro_f1"] == 1.0


def test_dangerous_archives_are_not_scored(task, gold, make_zip):
    with pytest.raises(KitError, match=r"has '\.\.' in its path"):
        score_submission(task, make_zip({"../pred_eng.csv": RIGHT}), gold)


def test_fixed_points_of_the_bundles_of_2026(tmp_path):
    """A perfect submission scores 0.992857 on Track A, since afr surprise is all 0 there."""
    for name, perfect in (("codabench2026-task11-a", 0.992857), ("codabench2026-task11-b", 1.0)):
        task = load_task(name)
        folder = tmp_path / name
        for part in ("gold", "pred", "zeros"):
            (folder / part).mkdir(parents=True)
        for language in task.scoring.languages:
            labels = task.labels_for(language)
            values = np.tile([[1], [0]], len(labels))
            if language == "afr":
                values[:, labels.index("surprise")] = 0
            ids = [f"{language}_1", f"{language}_2"]
            (folder / f"gold/{language}.csv").write_text(as_csv(ids, labels, values))
            (folder / f"pred/pred_{language}.csv").write_text(as_csv(ids, labels, values))
            (folder / f"zeros/pred_{language}.csv").write_text(as_csv(ids, labels, values * 0))
        metric = f"avg_{task.scoring.metrics[0]}"
        scores = score_submission(task, folder / "pred", folder / "gold").scores
        assert scores[metric] == perfect
        assert scores.get("afr_macro_f1", 0.8) == 0.8
        zeros = score_submission(task, folder / "zeros", folder / "gold")
        assert zeros.accepted
        assert zeros.scores[metric] == 0.0


def random_gold(rng, labels, n, top):
    ids = [f"deu_test_track_x_{i:05d}" for i in range(n)]
    values = rng.integers(0, top + 1, (n, len(labels)))
    return ids, values


def as_csv(ids, labels, values):
    rows = [f"{i},{','.join(map(str, row))}" for i, row in zip(ids, values.tolist(), strict=True)]
    return "\n".join([",".join(["id", *labels]), *rows]) + "\n"


def test_rules_of_2025_round_f1_at_4_decimals_and_skip_missing_languages(tmp_path):
    task = load_task("semeval2025-task11-a")
    rng = np.random.default_rng(0)
    labels = task.labels_for("deu")
    ids, gold = random_gold(rng, labels, 50, 1)
    preds = rng.integers(0, 2, gold.shape)
    folder = lay_down(tmp_path / "gold", {"deu.csv": as_csv(ids, labels, gold)})
    pred = lay_down(tmp_path / "track_a", {"pred_deu.csv": as_csv(ids, labels, preds)})
    score = score_submission(task, pred, folder, "2025")
    macro = round(sk.f1_score(gold, preds, average="macro"), 4)
    micro = round(sk.f1_score(gold, preds, average="micro"), 4)
    assert score.denominator == 1
    assert score.scores == {
        "avg_macro_f1": macro,
        "avg_micro_f1": micro,
        "languages_scored": 1,
        "deu_macro_f1": macro,
        "deu_micro_f1": micro,
    }


def test_rules_of_2025_round_each_pearson_before_the_mean_and_give_nan(tmp_path):
    task = load_task("semeval2025-task11-b")
    rng = np.random.default_rng(0)
    labels = task.labels_for("deu")
    ids, gold = random_gold(rng, labels, 40, 3)
    preds = rng.integers(0, 4, gold.shape)
    folder = lay_down(tmp_path / "gold", {"deu.csv": as_csv(ids, labels, gold)})
    pred = lay_down(tmp_path / "track_b", {"pred_deu.csv": as_csv(ids, labels, preds)})
    values = [round(stats.pearsonr(gold[:, i], preds[:, i])[0], 4) for i in range(6)]
    score = score_submission(task, pred, folder, "2025")
    assert score.scores["deu_pearson_r"] == round(sum(values) / 6, 4)
    preds[:, 2] = 1
    (pred / "pred_deu.csv").write_text(as_csv(ids, labels, preds))
    score = score_submission(task, pred, folder, "2025")
    assert math.isnan(score.scores["deu_pearson_r"])
    assert score.to_json()["scores"]["deu_pearson_r"] is None
    assert score_submission(task, pred, folder, "2026").scores["deu_pearson_r"] != 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "\ufeff" + text, "invalid submission header"),
        (lambda text: text.replace(",1,0,0\n", ",1.0,0,0\n"), "crashes: a row has no 3 whole"),
        (lambda text: text.replace(",1,0,0\n", ",1,0,0,0\n"), "crashes: a row has no 3 whole"),
        (lambda text: text.replace(",1,0,0\n", ",2,0,0\n"), "neither 0 nor 1"),
        (lambda text: text.replace(IDS[0], "other"), "invalid tweet id: other"),
        (lambda text: text + "\n", "different number of lines"),
        (lambda text: "", "IndexError: the file is empty"),
    ],
)
def test_rules_of_2025_reject_what_the_checker_cannot_read(task, gold, make_zip, change, message):
    path = make_zip({"track_a/pred_eng.csv": change(RIGHT)})
    score = score_submission(task, path, gold, "2025")
    assert message in score.message


def test_rules_of_2025_know_other_headers_folders_and_doubled_ids(task, gold, make_zip):
    capital = make_zip({"track_a/pred_eng.csv": RIGHT.replace("anger", "Anger")})
    assert score_submission(task, capital, gold, "2025").accepted
    assert not score_submission(task, capital, gold, "2026").accepted
    elsewhere = make_zip({"pred_eng.csv": RIGHT})
    assert "folder named track_a" in score_submission(task, elsewhere, gold, "2025").message
    doubled = make_zip({"track_a/pred_eng.csv": RIGHT.replace(IDS[0], IDS[1])})
    assert score_submission(task, doubled, gold, "2025").languages[0].n_examples == 1


def test_rules_of_2025_read_a_bad_intensity_row_as_zeros(tmp_path):
    task = load_task("semeval2025-task11-b")
    labels = task.labels_for("eng")
    ids = [f"eng_test_track_b_{i}" for i in range(4)]
    gold = np.arange(20).reshape(4, 5) % 4
    text = as_csv(ids, labels, gold)
    zeroed = as_csv(ids, labels, np.vstack([gold[:3], np.zeros((1, 5), dtype=int)]))
    folder = lay_down(tmp_path / "gold", {"eng.csv": text})
    bad = text.replace(f"{ids[3]},3", f"{ids[3]},x")
    first = lay_down(tmp_path / "track_b", {"pred_eng.csv": bad})
    scores = score_submission(task, first, folder, "2025").scores
    (first / "pred_eng.csv").write_text(zeroed)
    assert scores == score_submission(task, first, folder, "2025").scores


GENERIC = (
    ('kind = "multilabel"', 'kind = "singlelabel"'),
    ('"eng", "deu"]', '"eng"]'),
    ('"eng", "deu", "ron"]', '"eng"]'),
    ('\n[labels.by_language]\ndeu = ["anger", "joy"]', ""),
    ("[data.files]", '[data]\ndelimiter = "\\t"\nlabel_layout = "name"\n[data.files]'),
    (
        'member = "track_a/pred_{lang}.csv"',
        'member = "test.txt"\ndelimiter = "\\t"\nlabel_layout = "name"',
    ),
    ('rules = "2026"', 'rules = "generic"\nexcluded_labels = ["joy"]'),
    ('["macro_f1", "micro_f1"]', '["micro_f1", "accuracy", "macro_auc"]'),
)


def test_generic_rules_exclude_labels_and_take_probabilities(write_task, make_zip, tmp_path):
    task = write_task(*GENERIC)
    gold = tmp_path / "eng.csv"
    gold.write_text("id\tlabel\n1\tjoy\n2\tanger\n3\tfear\n4\tjoy\n")
    path = make_zip({"test.txt": "id\tlabel\n1\tjoy\n2\tanger\n3\tjoy\n4\tfear\n"})
    score = score_submission(task, path, gold)
    assert score.scores == {
        "avg_micro_f1": 0.5,
        "avg_accuracy": 0.5,
        "languages_scored": 1,
        "eng_micro_f1": 0.5,
        "eng_accuracy": 0.5,
    }
    assert "macro_auc needs probabilities" in score.warnings[0]
    probs = np.eye(3)[[2, 0, 1, 2]]
    assert score_submission(task, path, gold, probs={"eng": probs}).scores["eng_macro_auc"] == 1.0
    bad = make_zip({"test.txt": "id\tlabel\n1\tjoy\n2\tanger\n3\tjoi\n4\tfear\n"})
    assert "label 'joi' is unknown or doubled" in score_submission(task, bad, gold).message


def test_unknown_rules_are_refused(task, gold, make_zip):
    with pytest.raises(KitError, match="rules '1999' are unknown"):
        score_submission(task, make_zip({"pred_eng.csv": RIGHT}), gold, "1999")
