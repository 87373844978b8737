"""Neighbouring tasks, each a file: made-up data through reading, packing, validating, scoring."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from semeval_kit.data.examples import read_examples
from semeval_kit.errors import KitError
from semeval_kit.submission.pack import pack_submission, write_predictions
from semeval_kit.submission.score import Score, score_submission
from semeval_kit.submission.validate import validate_submission
from semeval_kit.task.task import Task, list_tasks, load_task

DATA = Path(__file__).parents[2] / "data"


def lay_down(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def tsv(*rows: str) -> str:
    """Rows whose cells are written with ` | ` between them."""
    return "".join(row.replace(" | ", "\t") + "\n" for row in rows)


def run_through(
    task: Task, folder: Path, preds: dict[str, list[list[int]]], tmp_path: Path
) -> tuple[dict[str, str], Score]:
    """Write, pack, validate and score; return the members of the zip and the score."""
    files = {}
    for language, rows in preds.items():
        examples = read_examples(task, folder, "test", [language], labelled=False)
        files[language] = write_predictions(
            task, language, examples, np.array(rows), tmp_path / f"pred_{language}"
        )
    zip_path = tmp_path / (task.submission.zip_name or "submission.zip")
    packed = pack_submission(task, files, zip_path, folder, data=folder)
    assert packed == validate_submission(task, zip_path, folder, data=folder)
    with zipfile.ZipFile(zip_path) as archive:
        members = {info.filename: archive.read(info).decode() for info in archive.infolist()}
    return members, score_submission(task, zip_path, folder)


class TestEmotionClassificationOfTweets:
    HEAD = (
        "ID | Tweet | anger | anticipation | disgust | fear | joy | love | "
        "optimism | pessimism | sadness | surprise | trust"
    )
    NONE = " | NONE" * 11

    @pytest.fixture
    def task(self) -> Task:
        return load_task("semeval2018-task1-ec")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        train = tsv(
            self.HEAD,
            '2018-En-1 | so "angry | 1 | 0 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0',
            "2018-En-2 | fine, day | 0 | 0 | 0 | 0 | 1 | 1 | 1 | 0 | 0 | 0 | 0",
        )
        texts = ["late again", 'one " quote', "just a table"]
        gold = ["1 | 0 | 1", "0 | 0 | 0", "0 | 0 | 0"]
        joy = ["0", "1", "0"]
        rest = " | 0" * 6
        test = tsv(self.HEAD, *(f"t{i} | {text}{self.NONE}" for i, text in enumerate(texts)))
        rows = [f"t{i} | {texts[i]} | {gold[i]} | 0 | {joy[i]}{rest}" for i in range(3)]
        files = {"2018-E-c-{}-train.txt": train, "2018-E-c-{}-test.txt": test}
        files["2018-E-c-{}-test-gold.txt"] = tsv(self.HEAD, *rows)
        return lay_down(
            tmp_path / "data",
            {name.format(lang): text for name, text in files.items() for lang in ("En", "Es")},
        )

    def test_reading_takes_quotes_as_characters(self, task: Task, folder: Path) -> None:
        train = read_examples(task, folder, "train", ["en"])
        assert train.texts == ('so "angry', "fine, day")
        assert train.labels.sum(axis=0).tolist() == [1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0]
        assert np.isnan(read_examples(task, folder, "test", ["en"]).labels).all()

    def test_predictions_echo_the_tweet_and_score_as_by_hand(
        self, task: Task, folder: Path, tmp_path: Path
    ) -> None:
        preds = np.zeros((3, 11), dtype=int)
        preds[0, 0] = preds[1, 4] = preds[1, 5] = 1
        members, score = run_through(task, folder, {"en": preds.tolist()}, tmp_path)
        lines = members["E-C_en_pred.txt"].splitlines()
        assert list(members) == ["E-C_en_pred.txt"]
        assert lines[0] == tsv(self.HEAD).rstrip("\n")
        assert lines[2] == 't1\tone " quote\t0\t0\t0\t0\t1\t1\t0\t0\t0\t0\t0'
        # Jaccard 1/2, 1/2 and 1 for two empty sets; tp 2, fp 1, fn 1; F1 of 1 for anger and joy.
        assert score.scores == {
            "avg_jaccard": 0.666667,
            "avg_micro_f1": 0.666667,
            "avg_macro_f1": 0.181818,
            "languages_scored": 1,
            "en_jaccard": 0.666667,
            "en_micro_f1": 0.666667,
            "en_macro_f1": 0.181818,
        }

    def test_languages_have_files_of_their_own(
        self, task: Task, folder: Path, tmp_path: Path
    ) -> None:
        zeros = np.zeros((3, 11), dtype=int).tolist()
        members, _ = run_through(task, folder, {"es": zeros, "en": zeros}, tmp_path)
        assert list(members) == ["E-C_en_pred.txt", "E-C_es_pred.txt"]

    def test_a_bad_integer_is_an_error_with_its_line(self, task: Task, folder: Path) -> None:
        path = folder / "2018-E-c-En-train.txt"
        path.write_text(path.read_text().replace("\t1\t1\t1\t", "\t1\tyes\t1\t"))
        with pytest.raises(KitError, match=r"train\.txt, line 3: label 'love' is 'yes'"):
            read_examples(task, folder, "train", ["en"])


class TestEmoContext:
    HEAD = "id | turn1 | turn2 | turn3 | label"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        turns = ["hi | hello | :)", 'why | "because | no', "stop it | ok | bye", "so | and | then"]
        gold = ["happy", "sad", "others", "others"]
        return lay_down(
            tmp_path / "data",
            {
                "train.txt": tsv(self.HEAD, "0 | a | b | c | angry", "1 | d | e | f | others"),
                "dev.txt": tsv(self.HEAD, "0 | g | h | i | sad"),
                "testwithoutlabels.txt": tsv(
                    "id | turn1 | turn2 | turn3", *(f"{i} | {turns[i]}" for i in range(4))
                ),
                "test.txt": tsv(self.HEAD, *(f"{i} | {turns[i]} | {gold[i]}" for i in range(4))),
            },
        )

    def test_turns_are_joined_and_labels_are_one_hot(self, folder: Path) -> None:
        train = read_examples(load_task("semeval2019-task3"), folder, "train", ["eng"])
        assert train.texts == ("a | b | c", "d | e | f")
        assert train.label_names == ("happy", "sad", "angry", "others")
        assert train.labels.tolist() == [[0, 0, 1, 0], [0, 0, 0, 1]]

    def test_micro_f1_passes_over_others(self, folder: Path, tmp_path: Path) -> None:
        task = load_task("semeval2019-task3")
        preds = [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
        members, score = run_through(task, folder, {"eng": preds}, tmp_path)
        assert members == {
            "test.txt": tsv(
                self.HEAD,
                "0 | hi | hello | :) | happy",
                '1 | why | "because | no | others',
                "2 | stop it | ok | bye | angry",
                "3 | so | and | then | others",
            )
        }
        # happy found; sad missed; angry wrong: tp 1, fp 1, fn 1. With `others` it would be 3/5.
        assert score.scores["eng_micro_f1"] == 0.5

    def test_exactly_one_label_is_wanted(self, folder: Path, tmp_path: Path) -> None:
        task = load_task("semeval2019-task3")
        test = read_examples(task, folder, "test", ["eng"])
        with pytest.raises(KitError, match="id 1: exactly one label must be 1"):
            write_predictions(
                task, "eng", test, [[1, 0, 0, 0]] + [[0, 0, 0, 0]] * 3, tmp_path / "test.txt"
            )


class TestEssays:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return lay_down(
            tmp_path / "data",
            {
                "WASSA23_essay_level_with_labels_train.tsv": tsv(
                    "essay | gender | emotion",
                    '"Two ""quoted"" words\tand a tab" | 1 | Sadness/Hope',
                    "Nothing much | 2 | Neutral",
                ),
                "WASSA23_essay_level_test.tsv": tsv("essay | age", "a | 1", "b | 2", "c | 3"),
                "WASSA23_essay_level_test_with_labels.tsv": tsv(
                    "essay | age | emotion",
                    "a | 1 | Anger/Disgust",
                    "b | 2 | Neutral",
                    "c | 3 | Sadness",
                ),
            },
        )

    def test_joined_labels_are_read_and_other_columns_passed_over(self, folder: Path) -> None:
        train = read_examples(load_task("wassa2023-emo"), folder, "train", ["eng"])
        assert train.texts == ('Two "quoted" words\tand a tab', "Nothing much")
        assert train.ids == ("eng_train_00001", "eng_train_00002")
        present = [np.flatnonzero(row).tolist() for row in train.labels]
        names = train.label_names
        assert [[names[i] for i in row] for row in present] == [["Hope", "Sadness"], ["Neutral"]]

    def test_row_order_counts_and_there_is_no_header(self, folder: Path, tmp_path: Path) -> None:
        task = load_task("wassa2023-emo")
        preds = np.zeros((3, 8), dtype=int)
        preds[0, 0] = 1  # Anger; Disgust is missed
        preds[2, 6] = preds[2, 3] = 1  # Sadness, and Hope too many
        members, score = run_through(task, folder, {"eng": preds.tolist()}, tmp_path)
        # A row without a label gets the word for it, which here is a label itself.
        assert members == {"predictions_EMO.tsv": "Anger\nNeutral\nHope/Sadness\n"}
        # F1 of 1 for Anger, Neutral and Sadness of eight labels; tp 3, fp 1, fn 1.
        assert score.scores["eng_macro_f1"] == 0.375
        assert score.scores["eng_micro_f1"] == 0.75

    def test_another_number_of_rows_is_refused(self, folder: Path, tmp_path: Path) -> None:
        task = load_task("wassa2023-emo")
        path = tmp_path / "predictions_EMO.tsv"
        path.write_text("Anger\nJoy\n")
        with pytest.raises(KitError, match="expected 3 rows, received 2"):
            pack_submission(task, {"eng": path}, tmp_path / "predictions.zip", folder)


class TestPolarization:
    TYPES = "political,racial/ethnic,religious,gender/sexual,other"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        files = {}
        for code in ("amh", "eng"):
            texts = [f'{code}_{i},"text {i}, {code}"' for i in range(4)]
            test = "id,text,canary\n" + "".join(f"{text},do-not-train\n" for text in texts)
            for n, head, labels in (
                (1, "polarization", ["1", "0", "1", "0"]),
                (2, self.TYPES, ["1,0,0,0,0", "0,1,0,0,0", "0,0,0,0,0", "0,1,0,0,1"]),
            ):
                rows = "".join(f"{t},{v}\n" for t, v in zip(texts, labels, strict=True))
                files[f"subtask{n}/train/{code}.csv"] = f"id,text,{head}\n{rows}"
                files[f"subtask{n}/test/{code}.csv"] = test
                files[f"subtask{n}/gold/{code}.csv"] = f"id,text,{head}\n{rows}"
        return lay_down(tmp_path / "data", files)

    def test_macro_f1_of_the_binary_subtask_averages_both_classes(
        self, folder: Path, tmp_path: Path
    ) -> None:
        task = load_task("semeval2026-task9-polar-1")
        one, zero = [0, 1], [1, 0]
        preds = {"amh": [one, zero, zero, zero], "eng": [one, zero, one, zero]}
        members, score = run_through(task, folder, preds, tmp_path)
        assert list(members) == ["subtask_1/pred_amh.csv", "subtask_1/pred_eng.csv"]
        assert members["subtask_1/pred_amh.csv"] == (
            "id,polarization\namh_0,1\namh_1,0\namh_2,0\namh_3,0\n"
        )
        # amh: class 0 has F1 4/5, class 1 has 2/3. Twenty languages are left out and do not count.
        assert score.scores["amh_macro_f1"] == 0.733333
        assert score.scores["avg_macro_f1"] == 0.866667
        assert score.denominator == 2

    def test_types_are_columns_of_their_own_and_canary_is_none(
        self, folder: Path, tmp_path: Path
    ) -> None:
        task = load_task("semeval2026-task9-polar-2")
        test = read_examples(task, folder, "test", ["eng"])
        assert ",".join(test.label_names) == self.TYPES
        assert test.texts[1] == "text 1, eng"
        preds = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
        members, score = run_through(task, folder, {"eng": preds}, tmp_path)
        assert members["subtask_2/pred_eng.csv"].startswith(f"id,{self.TYPES}\neng_0,1,0,0,0,0\n")
        # F1: political 1, racial/ethnic 2/3, other 1, two labels 0.
        assert score.scores["eng_macro_f1"] == 0.533333

    def test_four_languages_have_no_third_subtask(self, folder: Path) -> None:
        first, third = (load_task(f"semeval2026-task9-polar-{n}") for n in (1, 3))
        gone = set(first.predict_languages) - set(third.predict_languages)
        assert (len(first.predict_languages), gone) == (22, {"ita", "rus", "pol", "mya"})
        with pytest.raises(KitError, match="language 'ita' is not in task"):
            read_examples(third, folder, "train", ["ita"])


class TestTextAndEmotion:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return lay_down(
            tmp_path / "data",
            {
                "train.txt": "i am glad;joy\n\nfirst; then second;anger\n",
                "val.txt": "so so;love\n",
                "test.txt": "a;joy\nb;joy\nc;fear\nd;anger\n",
            },
        )

    def test_lines_are_cut_at_their_last_semicolon(self, folder: Path) -> None:
        train = read_examples(load_task("emotion-text"), folder, "train", ["eng"])
        assert train.texts == ("i am glad", "first; then second")
        assert train.labels.argmax(axis=1).tolist() == [1, 3]
        assert any("1 blank line skipped" in note for note in train.notes)

    def test_an_unknown_label_is_named_with_the_nearest(self, folder: Path) -> None:
        (folder / "train.txt").write_text("i am glad;joy\nnot so;angr\n")
        with pytest.raises(KitError, match=r"train\.txt, line 2: label 'angr'.*'anger'"):
            read_examples(load_task("emotion-text"), folder, "train", ["eng"])

    def test_scores_as_by_hand(self, folder: Path, tmp_path: Path) -> None:
        task = load_task("emotion-text")
        preds = np.zeros((4, 6), dtype=int)
        preds[range(4), [1, 4, 4, 3]] = 1  # joy, fear (wrong), fear, anger
        members, score = run_through(task, folder, {"eng": preds.tolist()}, tmp_path)
        assert members == {"pred.csv": "emotion\njoy\nfear\nfear\nanger\n"}
        # joy p 1, r 1/2 (support 2); fear p 1/2, r 1; anger 1, 1.
        assert score.scores["eng_accuracy"] == 0.75
        assert score.scores["eng_weighted_precision"] == 0.875
        assert score.scores["eng_weighted_recall"] == 0.75
        assert score.scores["eng_weighted_f1"] == 0.75
        assert "eng_macro_auc" not in score.scores

    def test_auc_is_of_probabilities(self, folder: Path, tmp_path: Path) -> None:
        task = load_task("emotion-text")
        preds = np.zeros((4, 6), dtype=int)
        preds[range(4), [1, 1, 4, 3]] = 1
        run_through(task, folder, {"eng": preds.tolist()}, tmp_path)
        probs = np.full((4, 6), 0.1)
        probs[:, 1] = [0.9, 0.3, 0.5, 0.1]  # joy: 3 of 4 pairs in order
        probs[:, 4] = [0.1, 0.2, 0.9, 0.2]  # fear: all in order
        probs[:, 3] = [0.5, 0.5, 0.5, 0.5]  # anger: ties
        zip_path = tmp_path / "submission.zip"
        score = score_submission(task, zip_path, folder, probs={"eng": probs})
        assert score.scores["eng_macro_auc"] == 0.75


@pytest.mark.parametrize("name", ["demo", "demo-intensity"])
class TestDemo:
    def test_rows_and_labels(self, name: str) -> None:
        task = load_task(name)
        sizes = [len(read_examples(task, DATA, split, ["eng"])) for split in ("train", "dev")]
        assert sizes == [657, 102]
        train = read_examples(task, DATA, "train", ["eng"])
        assert train.labels.max() == (3 if name == "demo-intensity" else 1)
        test = read_examples(task, DATA, "test", ["eng"])
        assert len(test) == 221
        assert np.isnan(test.labels).all()

    def test_gold_scores_one(self, name: str, tmp_path: Path) -> None:
        task = load_task(name)
        track = "track_b" if name == "demo-intensity" else "track_a"
        with (DATA / "gold" / track / "eng.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        preds = [[int(row[label]) for label in task.all_labels] for row in rows]
        members, score = run_through(task, DATA, {"eng": preds}, tmp_path)
        assert list(members) == [f"{track}/pred_eng.csv"]
        metric = "pearson_r" if name == "demo-intensity" else "macro_f1"
        assert score.scores[f"eng_{metric}"] == 1.0


def test_no_code_names_a_task() -> None:
    package = Path(__file__).parents[2] / "semeval_kit"
    named = []
    for path in package.rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        # Examples in help texts may name tasks; a comparison may not.
        named += [
            (path.name, name)
            for name in list_tasks()
            if f'== "{name}"' in code or f'in ("{name}"' in code or f'case "{name}"' in code
        ]
    assert named == []
