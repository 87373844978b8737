"""Zips of other shapes: several files and targets, numbers, JSON lines, all languages in one."""

from __future__ import annotations

import json
import math
import re
import zipfile

import numpy as np
import pytest
from scipy import stats

from semeval_kit.cli.summary import describe_score
from semeval_kit.data.examples import read_examples
from semeval_kit.data.reference import find_references
from semeval_kit.errors import KitError
from semeval_kit.submission.pack import merge_zips, pack_submission, write_predictions
from semeval_kit.submission.score import find_beside, measure_answers, score_submission
from semeval_kit.submission.validate import validate_submission
from semeval_kit.task.task import load_task

HEAD = """
name = "made-up"
title = "A task for tests"
url = "https://example.org"
train_languages = ["eng"]
predict_languages = ["eng"]
"""
SCORED = """
[scoring]
languages = ["eng"]
missing_languages = "skip"
"""


@pytest.fixture
def make_task(tmp_path):
    """Load a task from its sections; the files of the data lie in `data`."""

    def make(*sections, head=HEAD):
        path = tmp_path / "made-up.toml"
        path.write_text("\n".join([head, *sections]), encoding="utf-8")
        return load_task(path)

    return make


@pytest.fixture
def data(tmp_path):
    def lay_down(files):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_bytes(text.encode())
        return folder

    return lay_down


def run_through(task, folder, answers, tmp_path, languages=("eng",)):
    """Write, pack, validate and score; return the members, the validation and the score."""
    files = {}
    for language in languages:
        examples = read_examples(task, folder, "test", [language], labelled=False)
        own = np.asarray(answers[language] if isinstance(answers, dict) else answers, float)
        files[language] = write_predictions(
            task, language, examples, own, tmp_path / f"p_{language}.csv"
        )
    zip_path = tmp_path / "submission.zip"
    validation = pack_submission(task, files, zip_path, folder)
    assert validation == validate_submission(task, zip_path, folder)
    with zipfile.ZipFile(zip_path) as archive:
        members = {info.filename: archive.read(info).decode() for info in archive.infolist()}
    return members, validation, score_submission(task, zip_path, folder)


class TestRelatedness:
    """Numbers between two sentences, as in SemEval-2024 Task 1."""

    TASK = (
        'kind = "regression"\nrange = [0, 1]',
        '[labels]\ndefault = ["Score"]',
        '[data]\nid_column = "PairID"\ntext_columns = ["Text"]\npair_separator = "\\n"',
        '[data.files]\ntrain = ["train.csv"]\ntest = ["test.csv"]\ngold = ["gold.csv"]',
        '[submission]\nmember = "pred_{lang}_a.csv"\nid_column = "PairID"\n'
        'columns = { Score = "Pred_Score" }\nheader_check = "loose"',
        SCORED + 'metrics = ["spearman", "pearson", "rmse", "mae"]',
    )
    GOLD = [0.1, 0.9, 0.5, 0.5, 0.0]
    ANSWERS = [0.2, 0.8, 0.75, 0.123456789, 0.1]

    @pytest.fixture
    def task(self, make_task):
        return make_task(*self.TASK)

    @pytest.fixture
    def folder(self, data):
        texts = [f'ENG-{i},"one\ntwo {i}"' for i in range(5)]
        gold = "".join(f"{text},{value}\n" for text, value in zip(texts, self.GOLD, strict=True))
        test = "PairID,Text\n" + "".join(f"{text}\n" for text in texts)
        return data({"test.csv": test, "gold.csv": f"PairID,Text,Score\n{gold}"})

    def test_numbers_are_written_and_scored(self, task, folder, tmp_path):
        column = np.array(self.ANSWERS)[:, None]
        members, validation, score = run_through(task, folder, column, tmp_path)
        assert members == {
            "pred_eng_a.csv": "PairID,Pred_Score\nENG-0,0.2\nENG-1,0.8\nENG-2,0.75\n"
            "ENG-3,0.123457\nENG-4,0.1\n"
        }
        assert validation.infos == ["pred_eng_a.csv: 5 rows, labels Score"]
        rho = stats.spearmanr(self.GOLD, self.ANSWERS).statistic
        gaps = np.array(self.GOLD) - self.ANSWERS
        assert score.scores["eng_spearman"] == round(rho, 6)
        assert score.scores["avg_mae"] == round(np.abs(gaps).mean(), 6)
        assert score.scores["avg_rmse"] == round(np.sqrt((gaps**2).mean()), 6)
        assert score.languages[0].labels == ()

    def test_a_constant_answer_has_no_correlation(self, task, folder, tmp_path):
        _, validation, score = run_through(task, folder, np.full((5, 1), 0.5), tmp_path)
        assert math.isnan(score.scores["eng_spearman"])
        assert score.to_json()["scores"]["avg_pearson"] is None
        assert "label 'Score' (0.5) is the same in every row" in validation.warnings[0]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("0.8", "nan"), "id ENG-1: label 'Pred_Score' is 'nan'; expected a number."),
            (("0.8", "inf"), "is 'inf'"),
            (("0.8", "0,8"), "3 cells where the header has 2"),
            (("0.8", "high"), "is 'high'"),
            (("ENG-1,0.8\n", ""), "expected 5 rows, received 4"),
            (("ENG-1", "ENG-0"), "id 'ENG-0' is already on line 2"),
            (("PairID", "Pair"), "the header is 'Pair,Pred_Score'"),
            (("Pred_Score", "Pred_Score,x"), "the header is 'PairID,Pred_Score,x'"),
        ],
    )
    def test_what_the_official_program_refuses(self, task, folder, make_zip, change, message):
        text = "PairID,Pred_Score\nENG-0,0.2\nENG-1,0.8\nENG-2,0.7\nENG-3,0.1\nENG-4,0.1\n"
        path = make_zip({"pred_eng_a.csv": text.replace(*change, 1)})
        assert any(message in error for error in validate_submission(task, path, folder).errors)
        assert not score_submission(task, path, folder).accepted

    def test_a_header_in_another_case_is_taken(self, task, folder, make_zip):
        text = "pairid,score\nENG-0,2e-1\nENG-1,.8\nENG-2,7\nENG-3,-0.1\nENG-4,0.1\n"
        path = make_zip({"pred_eng_a.csv": text})
        validation = validate_submission(task, path, folder)
        assert validation.ok
        assert "pred_eng_a.csv: 2 numbers lie outside the target's range" in validation.warnings
        assert score_submission(task, path, folder).accepted

    def test_an_answer_that_is_no_number_is_not_written(self, task, folder, tmp_path):
        examples = read_examples(task, folder, "test", ["eng"], labelled=False)
        answers = np.full((5, 1), 0.5)
        answers[2] = np.nan
        with pytest.raises(KitError, match="id ENG-2: label 'Score' is nan; expected a number"):
            write_predictions(task, "eng", examples, answers, tmp_path / "p.csv")


class TestRatings:
    """JSON in, JSON lines out, and the spread of the ratings, as in SemEval-2026 Task 5."""

    TASK = (
        'kind = "regression"\nrange = [1, 5]',
        '[labels]\ndefault = ["average"]',
        '[data]\ntext_columns = ["sentence"]\ngroup_column = "homonym"\nblank_words = ["(???)"]',
        '[data.files]\ntrain = ["train.json"]\ntest = ["test.json"]\ngold = ["gold.json"]',
        '[submission]\nmember = "predictions.jsonl"\nformat = "jsonl"\n'
        'columns = { average = "prediction" }\nnumber_format = "{:.2f}"\norder = "id"',
        SCORED + 'metrics = ["within_sd", "spearman"]\nspread_column = "stdev"',
    )

    @pytest.fixture
    def task(self, make_task):
        return make_task(*self.TASK)

    @pytest.fixture
    def folder(self, data):
        rows = {
            str(i): {"homonym": f"h{i % 2}", "sentence": "s", "average": mean, "stdev": spread}
            for i, (mean, spread) in enumerate([(3.0, 0.5), (4.0, 1.5), (1.4, 0.9), (2.0, 0.1)])
        }
        rows = {"10": rows.pop("0"), **rows}
        blank = {key: row | {"average": "(???)", "stdev": "(???)"} for key, row in rows.items()}
        return data({"test.json": json.dumps(blank), "gold.json": json.dumps(rows)})

    def test_lines_of_json_are_written_and_scored(self, task, folder, tmp_path):
        answers = np.array([[3.999], [2.6], [2.4], [3.0]])
        members, _, score = run_through(task, folder, answers, tmp_path)
        assert members["predictions.jsonl"].splitlines() == [
            '{"id": "1", "prediction": 2.60}',
            '{"id": "2", "prediction": 2.40}',
            '{"id": "3", "prediction": 3.00}',
            '{"id": "10", "prediction": 4.00}',
        ]
        # Right: 4.0 - 2.6 below 1.5. Not: 4.00 - 3.0 and 2.40 - 1.4 are not below 1, 3 - 2 neither.
        assert score.scores["eng_within_sd"] == 0.25

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ('{"id": "3"}', "line 4: has not just the keys id, prediction"),
            ('{"id": "3", "prediction": null}', "a value is neither text nor a number"),
            ('{"id": "3", "prediction": NaN}', "label 'prediction' is 'NaN'; expected a number"),
            ("3,4", "line 4: is no JSON. Write one object per line"),
            ("[" * 4000, "is no JSON"),
            ('{"id": "4", "prediction": 3}', "1 id is missing (first: 3)"),
        ],
    )
    def test_bad_lines_are_told(self, task, folder, make_zip, line, message):
        lines = [json.dumps({"id": key, "prediction": 3}) for key in ("10", "1", "2")]
        path = make_zip({"predictions.jsonl": "\n".join([*lines, line])})
        assert message in "\n".join(validate_submission(task, path, folder).errors)

    def test_without_the_spread_the_metric_is_left_out(self, task, folder, tmp_path):
        rows = json.loads((folder / "gold.json").read_text())
        kept = {key: {k: v for k, v in row.items() if k != "stdev"} for key, row in rows.items()}
        (folder / "gold.json").write_text(json.dumps(kept))
        _, _, score = run_through(task, folder, np.array([[3], [2], [2], [4]]), tmp_path)
        assert "eng_within_sd" not in score.scores
        assert "within_sd is not computed" in score.warnings[0]


class TestInference:
    """Both directions of a pair, as in SemEval-2027 Task 2."""

    LABELS = ("BACKWARD_ENTAILMENT", "EQUIVALENCE", "FORWARD_ENTAILMENT", "NEGATIVE_OTHER")
    TASK = (
        'kind = "singlelabel"',
        f"[labels]\ndefault = {json.dumps(LABELS)}",
        '[rules]\nreversal = { EQUIVALENCE = "EQUIVALENCE", FORWARD_ENTAILMENT = '
        '"BACKWARD_ENTAILMENT", BACKWARD_ENTAILMENT = "FORWARD_ENTAILMENT" }',
        '[data]\nid_column = "instance_id"\ntext_columns = ["text1"]\npair = "text2"\n'
        'group_column = "pair_id"\nlabel_layout = "name"\nignored_columns = ["text1_lang", '
        '"text2_lang"]',
        '[data.files]\ntrain = ["train.csv"]\ntest = ["test.csv"]\ngold = ["reference.csv"]',
        '[submission]\nmember = "predictions.csv"\nid_column = "instance_id"\n'
        'label_layout = "name"\nblank_lines = "refused"',
        SCORED + 'metrics = ["weighted_f1", "soft_cons", "hard_cons"]\n'
        'reverse_column = "reverse_pair_id"',
    )
    IDS = [f"p{i}__en-en__{way}" for i in range(3) for way in ("original", "flipped")]
    IDS.append("p3__en-en__original")
    GOLD = "FBEEBFN"
    WORDS = {label[0]: label for label in LABELS}

    @pytest.fixture
    def task(self, make_task):
        return make_task(*self.TASK)

    @pytest.fixture
    def folder(self, data):
        pairs = dict(zip(self.IDS[:-1:2], self.IDS[1::2], strict=True))
        pairs |= {other: one for one, other in pairs.items()}
        head = "instance_id,pair_id,text1_lang,text2_lang,text1,text2"
        rows = [f"{key},{key[:2]},en,en,a {key[4:]},b" for key in self.IDS]
        gold = [
            f"{row},{self.WORDS[mark]},{pairs.get(key, '')}"
            for row, key, mark in zip(rows, self.IDS, self.GOLD, strict=True)
        ]
        return data(
            {
                "test.csv": "\n".join([head, *rows]) + "\n",
                "reference.csv": "\n".join([f"{head},label,reverse_pair_id", *gold]) + "\n",
            }
        )

    def answers(self, marks):
        return np.array([[mark == label[0] for label in self.LABELS] for mark in marks], float)

    def test_three_scores_as_by_hand(self, task, folder, tmp_path):
        members, _, score = run_through(task, folder, self.answers("FBEFBNN"), tmp_path)
        assert members["predictions.csv"].splitlines()[:2] == [
            "instance_id,label",
            "p0__en-en__original,FORWARD_ENTAILMENT",
        ]
        # F1: F 1/2 (tp 1, fp 1, fn 1), B 1, E 2/3 (tp 1, fn 1), N 2/3; support 2, 2, 2, 1.
        weighted = (2 * 0.5 + 2 * 1 + 2 * 2 / 3 + 1 * 2 / 3) / 7
        assert score.scores["eng_weighted_f1"] == round(weighted, 6)
        # Pairs FB, EF, BN: the first alone agrees, and is right.
        assert score.scores["eng_soft_cons"] == round(1 / 3, 6)
        assert score.scores["eng_hard_cons"] == round(1 / 3, 6)

    def test_answers_that_turn_into_each_other_are_consistent(self, task, folder, tmp_path):
        _, _, score = run_through(task, folder, self.answers("BFEEFBE"), tmp_path)
        assert score.scores["eng_soft_cons"] == 1.0
        assert score.scores["eng_hard_cons"] == round(1 / 3, 6)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("p3__en-en__original,N", "p9__en-en__original,N"), "1 id is missing"),
            (("p3__en-en__original", "p0__en-en__original"), "is already on line 2"),
            (("NEGATIVE_OTHER", "NEUTRAL"), "label 'NEUTRAL' is unknown"),
            (("NEGATIVE_OTHER", "negative_other"), "label 'negative_other' is unknown"),
            (("instance_id,label", "instance_id,label,x"), "Remove the column 'x'"),
            (("instance_id,label", "label,instance_id"), "in another order"),
            (("EQUIVALENCE\n", "EQUIVALENCE\n\n"), "holds blank lines"),
            (("EQUIVALENCE\n", "EQUIVALENCE\n,\n"), "the id is empty"),
            (("EQUIVALENCE", "EQUIV\0LENCE"), "holds a NUL byte"),
            (("NEGATIVE_OTHER\n", "NEGATIVE_OTHER,\n"), "3 cells where the header has 2"),
        ],
    )
    def test_every_refusal_of_the_policy(self, task, folder, make_zip, change, message):
        rows = [f"{key},{self.WORDS[mark]}" for key, mark in zip(self.IDS, "FBEFBNN", strict=True)]
        text = "\n".join(["instance_id,label", *rows]) + "\n"
        path = make_zip({"predictions.csv": text.replace(*change, 1)})
        assert message in "\n".join(validate_submission(task, path, folder).errors)
        assert not score_submission(task, path, folder).accepted


class TestCaptions:
    """All languages in one file, and a file that a text system cannot fill, as in ArtEmotion-28."""

    HEAD = HEAD.replace('["eng"]', '["ara", "eng"]')
    TASK = (
        'kind = "singlelabel"',
        '[labels]\ndefault = ["positive", "negative"]',
        '[data]\ntext_columns = ["caption"]\nlabel_layout = "name"\nlabel_column = "emotion"\n'
        'language_column = "language"\nlanguage_values = { Arabic = "ara", English = "eng" }',
        '[data.values]\nawe = "positive"\nfear = "negative"',
        '[data.files]\ntrain = ["train.csv"]\ntest = ["test.csv"]\ngold = ["gold.csv"]',
        '[submission]\nlabel_layout = "name"\nvalues = { positive = "1", negative = "0" }',
        '[[submission.members]]\nmember = "predictions_text.csv"',
        '[[submission.members]]\nmember = "predictions_multimodal.csv"\nfilled = false',
        '[scoring]\nlanguages = ["ara", "eng"]\nmetrics = ["macro_f1", "accuracy"]',
    )

    @pytest.fixture
    def task(self, make_task):
        return make_task(*self.TASK, head=self.HEAD)

    @pytest.fixture
    def folder(self, data):
        rows = [("e0", "English", "awe"), ("a0", "Arabic", "fear"), ("e1", "English", "awe")]
        head = "id,language,caption"
        return data(
            {
                "test.csv": "\n".join([head, *(f"{i},{code},x" for i, code, _ in rows)]) + "\n",
                "gold.csv": "\n".join([f"{head},emotion", *(f"{i},{k},x,{v}" for i, k, v in rows)])
                + "\n",
            }
        )

    def test_one_file_holds_all_languages_and_the_zip_says_what_it_lacks(
        self, task, folder, tmp_path
    ):
        answers = {"eng": [[1, 0], [0, 1]], "ara": [[0, 1]]}
        members, validation, score = run_through(task, folder, answers, tmp_path, ("ara", "eng"))
        assert members == {"predictions_text.csv": "id,label\na0,0\ne0,1\ne1,0\n"}
        assert validation.warnings[-1] == (
            "the zip is incomplete: predictions_multimodal.csv is made elsewhere. Put it in by "
            "`semeval-kit merge-zips`"
        )
        # eng: positive p 1, r 1/2; negative never right. ara: negative right, no positive.
        assert score.scores["eng_macro_f1"] == round(2 / 3 / 2, 6)
        assert score.scores["ara_macro_f1"] == 0.5
        assert score.scores["avg_accuracy"] == 0.75

    def test_a_file_made_elsewhere_is_known_but_not_read(self, task, folder, make_zip):
        text = "id,label\na0,0\ne0,1\ne1,0\n"
        members = {"predictions_text.csv": text, "predictions_multimodal.csv": "anything"}
        validation = validate_submission(task, make_zip(members), folder)
        assert validation.ok
        assert not any("incomplete" in warning for warning in validation.warnings)
        del members["predictions_text.csv"]
        validation = validate_submission(task, make_zip(members), folder)
        assert "predictions_text.csv is missing" in validation.errors[0]

    def test_a_row_of_a_language_may_not_be_missing(self, task, folder, make_zip):
        path = make_zip({"predictions_text.csv": "id,label\ne0,1\ne1,0\n"})
        assert "1 id is missing (first: a0)" in str(validate_submission(task, path, folder).errors)
        assert not score_submission(task, path, folder).accepted


class TestCompounds:
    """Two numbers a row, without header, by group, as in SemEval-2027 Task 5."""

    TASK = (
        'kind = "regression"\nrange = [0, 5]',
        '[labels]\ndefault = ["ModAvg", "HeadAvg"]',
        '[data]\ndelimiter = "\\t"\nquoted = false\nid_column = "ContextID"\n'
        'text_columns = ["Context"]\ngroup_column = "Compound"',
        '[data.files]\ntrain = ["eng-nn-train.tsv"]\ntest = ["test.tsv"]\ngold = ["gold.tsv"]',
        '[submission]\ndelimiter = "\\t"\nquoted = false\nheader = false\n'
        'id_column = "ContextID"\nnumber_format = "{:.3f}"',
        '[[submission.members]]\nmember = "{lang}-nn-pred.tsv"',
        '[[submission.members]]\nmember = "{lang}-pv-pred.tsv"\nfilled = false',
        SCORED + 'metrics = ["spearman", "rmse"]',
    )
    GOLD = [(1, 2), (2, 1), (3, 5), (4, 1), (5, 0), (0, 2)]

    @pytest.fixture
    def folder(self, data):
        rows = [f'c{i}\tw{i % 2}\ta "b" {i}' for i in range(6)]
        head = "ContextID\tCompound\tContext"
        gold = [f"{row}\t{m}\t{h}" for row, (m, h) in zip(rows, self.GOLD, strict=True)]
        return data(
            {
                "test.tsv": "\n".join([head, *rows]) + "\n",
                "gold.tsv": "\n".join([f"{head}\tModAvg\tHeadAvg", *gold]) + "\n",
            }
        )

    ANSWERS = np.array([(1, 3), (2.5, 1), (3, 4), (3.5, 2), (5, 0), (0, 1)], float)

    def test_lines_without_a_header(self, make_task, folder, tmp_path):
        task = make_task(*self.TASK)
        members, validation, score = run_through(task, folder, self.ANSWERS, tmp_path)
        assert members["eng-nn-pred.tsv"].splitlines()[:2] == [
            "c0\t1.000\t3.000",
            "c1\t2.500\t1.000",
        ]
        assert "eng-pv-pred.tsv is made elsewhere" in validation.warnings[-1]
        gold = np.array(self.GOLD, float)
        rho = [stats.spearmanr(gold[:, i], self.ANSWERS[:, i]).statistic for i in range(2)]
        assert score.scores["eng_spearman"] == round(float(np.mean(rho)), 6)

    def test_spreads_within_groups_agree(self, make_task, folder, tmp_path):
        metrics = 'metrics = ["spearman", "sd_spearman"]'
        task = make_task(*self.TASK[:-1], SCORED + metrics)
        rows = [f"c{i}\tw{i // 2}\tx\t{m}\t{h}" for i, (m, h) in enumerate(self.GOLD)]
        text = "\n".join(["ContextID\tCompound\tContext\tModAvg\tHeadAvg", *rows]) + "\n"
        (folder / "gold.tsv").write_text(text)
        _, _, score = run_through(task, folder, self.ANSWERS, tmp_path)
        # Of w0, w1, w2 the differences of ModAvg are 1, 1, 5 (answers 1.5, 0.5, 5), of HeadAvg
        # 1, 4, 2 (answers 2, 2, 1): two values spread as far as they differ.
        rho = [
            stats.spearmanr([1, 1, 5], [1.5, 0.5, 5]).statistic,
            stats.spearmanr([1, 4, 2], [2, 2, 1]).statistic,
        ]
        assert score.scores["avg_sd_spearman"] == round(float(np.mean(rho)), 6)

    def test_the_spread_needs_a_group_key_and_a_metric_before_it(self, make_task):
        for metrics, message in (
            ('["spearman", "sd_spearman"]', "data.group_column: metric 'sd_spearman' needs it"),
            ('["sd_spearman"]', "scoring.metrics: 'sd_spearman' cannot come first"),
        ):
            sections = [part.replace('\ngroup_column = "Compound"', "") for part in self.TASK[:-1]]
            with pytest.raises(KitError, match=re.escape(message)):
                make_task(*sections, SCORED + f"metrics = {metrics}")

    def test_zips_of_two_subtasks_become_one(self, make_zip, tmp_path):
        one = make_zip({"eng-nn-pred.tsv": "c0\t1\t3\n", "readme.txt": "x"})
        folder = tmp_path / "other"
        folder.mkdir()
        (folder / "eng-pv-pred.tsv").write_bytes(b"v0\t2\n")
        (folder / "readme.txt").write_bytes(b"x")
        together = tmp_path / "both.zip"
        names = ["eng-nn-pred.tsv", "eng-pv-pred.tsv", "readme.txt"]
        assert merge_zips([one, folder], together) == names
        with zipfile.ZipFile(together) as archive:
            assert archive.namelist() == names
            assert archive.read("eng-pv-pred.tsv") == b"v0\t2\n"
        (folder / "readme.txt").write_bytes(b"y")
        with pytest.raises(KitError, match=r"other: its 'readme\.txt' differs from that of"):
            merge_zips([one, folder], together)

    def test_averages_over_groups(self, make_task, folder, tmp_path):
        task = make_task(*self.TASK[:-1], self.TASK[-1] + '\naverage = "groups"')
        _, _, score = run_through(task, folder, self.ANSWERS, tmp_path)
        gold = np.array(self.GOLD, float)
        rho = [
            stats.spearmanr(gold[k::2, i], self.ANSWERS[k::2, i]).statistic
            for k in range(2)
            for i in range(2)
        ]
        assert score.scores["eng_spearman"] == round(float(np.mean(rho)), 6)

    def test_a_missing_language_is_no_error_of_0(self, make_task, folder, tmp_path):
        head = HEAD.replace('["eng"]', '["eng", "deu"]')
        sections = [part.replace('["eng"]', '["eng", "deu"]') for part in self.TASK]
        sections = [part.replace('"test.tsv"', '"{lang}-test.tsv"') for part in sections]
        sections = [part.replace('"eng-nn-train', '"{lang}-nn-train') for part in sections]
        task = make_task(*(part.replace('"skip"', '"zero"') for part in sections), head=head)
        (folder / "eng-test.tsv").write_text((folder / "test.tsv").read_text())
        (folder / "eng.csv").write_text((folder / "gold.tsv").read_text())
        _, _, score = run_through(task, folder, self.ANSWERS, tmp_path)
        assert score.scores["avg_rmse"] == score.scores["eng_rmse"]
        lines = describe_score(task, score)
        assert f"avg_rmse = {score.scores['avg_rmse']} (lower is better; over the languages" in str(
            lines
        )
        assert score.scores["avg_spearman"] == pytest.approx(score.scores["eng_spearman"] / 2)


class TestComments:
    """Three targets a row, each with its metrics, as in StereoQueerEval."""

    TASK = (
        '[targets.stereotype]\nkind = "singlelabel"\nlabels = ["yes", "no"]',
        '[targets.hate_speech]\nkind = "singlelabel"\n'
        'labels = ["no", "yes_implicit", "yes_explicit"]',
        '[targets.target]\nkind = "multilabel"\nlabels = ["group", "individual", "l", "g", "nb"]\n'
        'layout = "scoped"\nscopes = ["group", "individual"]\njoiner = ","\nnone_word = "none"',
        '[data]\ndelimiter = "\\t"\nid_column = "key"',
        '[data.files]\ntrain = ["train.tsv"]\ntest = ["test.tsv"]\ngold = ["gold.tsv"]',
        '[submission]\ndelimiter = "\\t"\nid_column = "key"\nlabel_layout = "name"\n',
        SCORED + 'metrics = ["macro_f1", "exact_match"]\n[scoring.by_target]\n'
        'stereotype = ["macro_f1"]\nhate_speech = ["macro_f1"]\ntarget = ["exact_match"]',
    )
    TOGETHER = '[[submission.members]]\nmember = "{lang}.tsv"'
    APART = (
        '[[submission.members]]\nmember = "{lang}_a.tsv"\ntargets = ["stereotype"]\n'
        'label_column = "answer"',
        '[[submission.members]]\nmember = "{lang}_b.tsv"\ntargets = ["target", "hate_speech"]\n'
        'columns = { target = "who" }',
    )
    # stereotype yes, no; hate no, implicit, explicit; group, individual, l, g, nb
    ANSWERS = np.array(
        [
            [1, 0, 0, 0, 1, 1, 0, 0, 0, 1],
            [0, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            [1, 0, 0, 1, 0, 0, 1, 1, 1, 0],
        ]
    )

    @pytest.fixture
    def folder(self, data):
        head, rows = "key\ttext", ["k0\tx", '"k1"\t"two\nlines"', "k2\tz"]
        gold = ["yes\tyes_explicit\tgroup_nb", "no\tno\tnone", "no\tyes_implicit\tindividual_l"]
        return data(
            {
                "test.tsv": "\n".join([head, *rows]) + "\n",
                "gold.tsv": "\n".join(
                    [
                        f"{head}\tstereotype\thate_speech\ttarget",
                        *(f"{row}\t{cells}" for row, cells in zip(rows, gold, strict=True)),
                    ]
                )
                + "\n",
            }
        )

    def test_targets_side_by_side(self, make_task, folder, tmp_path):
        task = make_task(*self.TASK, self.TOGETHER)
        members, _, score = run_through(task, folder, self.ANSWERS, tmp_path)
        assert members == {
            "eng.tsv": "key\tstereotype\thate_speech\ttarget\n"
            "k0\tyes\tyes_explicit\tgroup_nb\nk1\tno\tno\tnone\n"
            'k2\tyes\tyes_implicit\t"individual_l,g"\n'.replace('"', "")
        }
        assert score.scores == {
            "avg_macro_f1": round((2 / 3 + 1) / 2, 6),
            "avg_exact_match": round(2 / 3, 6),
            "avg_stereotype_macro_f1": round(2 / 3, 6),
            "avg_hate_speech_macro_f1": 1.0,
            "avg_target_exact_match": round(2 / 3, 6),
            "languages_scored": 1,
            "eng_macro_f1": round((2 / 3 + 1) / 2, 6),
            "eng_exact_match": round(2 / 3, 6),
            "eng_stereotype_macro_f1": round(2 / 3, 6),
            "eng_hate_speech_macro_f1": 1.0,
            "eng_target_exact_match": round(2 / 3, 6),
        }

    def test_targets_in_files_of_their_own(self, make_task, folder, tmp_path):
        together = run_through(
            make_task(*self.TASK, self.TOGETHER), folder, self.ANSWERS, tmp_path
        )[2]
        members, validation, apart = run_through(
            make_task(*self.TASK, *self.APART), folder, self.ANSWERS, tmp_path
        )
        assert members["eng_a.tsv"] == "key\tanswer\nk0\tyes\nk1\tno\nk2\tyes\n"
        assert members["eng_b.tsv"].splitlines()[:2] == [
            "key\twho\thate_speech",
            "k0\tgroup_nb\tyes_explicit",
        ]
        assert apart.scores == together.scores
        assert validation.infos[0] == "eng_a.tsv: 3 rows, labels yes, no"

    def test_a_target_that_is_left_out_is_told(self, make_task, folder, make_zip):
        task = make_task(*self.TASK, *self.APART)
        path = make_zip({"eng_a.tsv": "key\tanswer\nk0\tyes\nk1\tno\nk2\tyes\n"})
        errors = validate_submission(task, path, folder).errors
        assert len(errors) == 1
        assert "eng_b.tsv is missing. Predict its targets too." in errors[0]

    def test_answers_are_measured_without_a_zip(self, make_task, folder):
        task = make_task(*self.TASK, self.TOGETHER)
        reference = find_references(task, folder)["eng"]
        values = measure_answers(task, reference, self.ANSWERS.astype(float), reference.gold)
        assert values["target_exact_match"] == pytest.approx(2 / 3)
        assert find_beside(task, reference).spreads is None


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            ('[[submission.members]]\nmember = "a.csv"\ntargets = ["x"]',),
            "'x' is no target that is",
        ),
        (('[[submission.members]]\nmember = "a.csv"',) * 2, "'a.csv' is there 2 times"),
        (('[submission]\nnumber_format = "{:d}"',), "is no format of a number"),
        (('[submission]\n[[submission.members]]\nformat = "xml"',), "xml"),
    ],
)
def test_bad_members_are_told_when_the_file_is_loaded(make_task, sections, message):
    parts = [part for part in TestRelatedness.TASK if not part.startswith("[submission]")]
    parts = [part.replace('"PairID"', '"id"') for part in parts]
    with pytest.raises(KitError, match=message):
        make_task(*parts, *sections)
