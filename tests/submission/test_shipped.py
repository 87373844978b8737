"""Each task file of another shape: made-up files in its organisers' layout to a scored zip."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from semeval_kit.data.examples import read_examples
from semeval_kit.submission.pack import pack_submission, write_predictions
from semeval_kit.submission.score import score_submission
from semeval_kit.submission.validate import validate_submission
from semeval_kit.task.task import load_task


def table(*rows: str, mark: str = ",") -> str:
    """Rows whose cells are written with ` | ` between them."""
    return "".join(row.replace(" | ", mark) + "\n" for row in rows)


def tsv(*rows: str) -> str:
    return table(*rows, mark="\t")


PAIRS = [f"p0__en-en__{way}" for way in ("original", "flipped")]
NLI = "instance_id | pair_id | text1_lang | text2_lang | text1 | text2"
NLI_ROWS = [f"{key} | p0 | en | en | a{i} | b{i}" for i, key in enumerate(PAIRS)]
STORY = {
    "homonym": "track", "judged_meaning": "rails", "precontext": "They went.", "ending": "",
    "sentence": "A track.", "choices": [4, 5, 3, 4, 4], "average": 4.0, "stdev": 0.7,
    "nonsensical": [False] * 5, "sample_id": "1", "example_sentence": "It glided."}  # fmt: skip
COMMENT = "StereoQueerEval_id | yt_title | yt_description | yt_comment"
CAPTION = "id | painting | image_name | image_id | art_style | genre | language | caption"

# task -> (files, {language: answers}, members, scores)
CASES = {
    "semeval2024-task1-a": (
        {
            "eng/eng_test.csv": 'PairID,Text\nE-1,"one\ntwo"\nE-2,"one\nthree"\n',
            "eng/eng_test_with_labels.csv": 'PairID,Text,Score\nE-1,"one\ntwo",0.4\n'
            'E-2,"one\nthree",0.1\n',
        },
        {"eng": [[0.9], [0.25]]},
        {"pred_eng_a.csv": "PairID,Pred_Score\nE-1,0.9\nE-2,0.25\n"},
        {"eng_spearman": 1.0, "avg_pearson": 1.0},
    ),
    "semeval2026-task5": (
        {
            "test.json": json.dumps({"0": STORY, "1": STORY | {"average": 2.0, "stdev": 1.2}}),
        },
        {"eng": [[4.25], [3.1]]},
        {"predictions.jsonl": '{"id": "0", "prediction": 4.25}\n{"id": "1", "prediction": 3.1}\n'},
        {"eng_within_sd": 1.0, "avg_spearman": 1.0},
    ),
    "semeval2027-task2-track1": (
        {
            "final_data/test/dico_nli_test_track1_participant_unlabeled.csv": table(NLI, *NLI_ROWS),
            "final_data/test/dico_nli_test_track1_reference.csv": table(
                f"{NLI} | label | reverse_pair_id",
                f"{NLI_ROWS[0]} | FORWARD_ENTAILMENT | {PAIRS[1]}",
                f"{NLI_ROWS[1]} | BACKWARD_ENTAILMENT | {PAIRS[0]}",
            ),
        },
        {"eng": [[0, 1, 0, 0], [0, 1, 0, 0]]},
        {"predictions.csv": f"instance_id,label\n{PAIRS[0]},EQUIVALENCE\n{PAIRS[1]},EQUIVALENCE\n"},
        {"eng_weighted_f1": 0.0, "eng_soft_cons": 1.0, "eng_hard_cons": 0.0},
    ),
    "semeval2027-stereoqueereval": (
        {
            "StereoQueerEval_EN_test.tsv": tsv(COMMENT, "t1 | a | b | c", 't2 | a | b | "d\ne"'),
            "EN.csv": tsv(
                f"{COMMENT} | stereotype | hate_speech | target",
                "t1 | a | b | c | yes | yes_explicit | group_lgbtqia+",
                't2 | a | b | "d\ne" | no | no | none',
            ),
        },
        {"EN": [[1, 0, 0, 0, 1, 1, *[0] * 9, 1], [0, 1, 1, 0, 0] + [0] * 11]},
        {
            "StereoQueerEval_EN_predictions.tsv": tsv(
                "StereoQueerEval_id | stereotype | hate_speech | target",
                "t1 | yes | yes_explicit | group_lgbtqia+",
                "t2 | no | no | none",
            )
        },
        {"EN_stereotype_macro_f1": 1.0, "EN_hate_speech_macro_f1": 0.666667, "EN_exact_match": 1.0},
    ),
    "semeval2027-task5-nn": (
        {
            "en-nn-test.tsv": tsv(
                "ContextID | Compound | Mod | Head | Context",
                "c1 | ant hill | ant | hill | An ant hill.",
                "c2 | ant hill | ant | hill | Another.",
            ),
            "en.csv": tsv(
                "ContextID | Compound | Mod | Head | ModAvg | HeadAvg | Context",
                "c1 | ant hill | ant | hill | 4 | 2 | An ant hill.",
                "c2 | ant hill | ant | hill | 3 | 3 | Another.",
            ),
        },
        {"en": [[5, 1], [1.5, 2]]},
        {"en-nn-pred.tsv": "c1\t5\t1\nc2\t1.5\t2\n"},
        {"en_spearman": 1.0, "avg_rmse": round((((1 + 1.5**2) / 2) ** 0.5 + 1) / 2, 6)},
    ),
    "semeval2027-task5-pv": (
        {
            "de-pv-test.tsv": tsv(
                "ContextID | ParticleVerb | Base | Particle | Context",
                "c1 | anlegen | legen | an | Er legt an.",
                "c2 | anlegen | legen | an | Sie legt an.",
            ),
            "de.csv": tsv(
                "ContextID | ParticleVerb | Base | Particle | Avg | Context",
                "c1 | anlegen | legen | an | 4 | Er legt an.",
                "c2 | anlegen | legen | an | 3 | Sie legt an.",
            ),
        },
        {"de": [[1], [2]]},
        {"de-pv-pred.tsv": "c1\t1\nc2\t2\n"},
        {"de_spearman": -1.0, "avg_spearman": -0.5, "de_rmse": round(5**0.5, 6)},
    ),
    "semeval2027-artemotion28-st1": (
        {
            "annotations/artelingo28_test.csv": table(
                f"{CAPTION} | emotion | split",
                "7 | m | f | 1 | s | g | English | So calm. | contentment | test",
                "3 | m | f | 1 | s | g | Korean | Dark. | fear | test",
                "5 | n | f | 2 | s | g | English | Grim. | sadness | test",
            ),
        },
        {"English": [[1, 0], [1, 0]], "Korean": [[0, 1]]},
        {"predictions_text.csv": "id,label\n7,positive\n5,positive\n3,negative\n"},
        {"English_macro_f1": 0.333333, "Korean_macro_f1": 0.5, "languages_scored": 2},
    ),
    "semeval2019-task6-a": (
        {
            "testset-levela.tsv": tsv("id | tweet", '1 | "so', "2 | no"),
            "labels-levela.csv": "1,OFF\n2,NOT\n",
        },
        {"eng": [[1, 0], [1, 0]]},
        {"predictions.csv": "1,OFF\n2,OFF\n"},
        {"eng_macro_f1": 0.333333, "eng_accuracy": 0.5},
    ),
    "semeval2019-task6-b": (
        {
            "testset-levelb.tsv": tsv("id | tweet", "1 | so", "2 | no"),
            "labels-levelb.csv": "1,TIN\n2,UNT\n",
        },
        {"eng": [[1, 0], [0, 1]]},
        {"predictions.csv": "1,TIN\n2,UNT\n"},
        {"eng_macro_f1": 1.0},
    ),
    "semeval2023-task10-b": (
        {
            "edos_labelled_aggregated.csv": "\ufeff"
            + table(
                "rewire_id | text | label_sexist | label_category | label_vector | split",
                "s1 | one | sexist | 3. animosity | x | train",
                "s2 | two | not sexist | none | none | test",
                "s3 | three | sexist | 2. derogation | y | test",
            )
        },
        {"eng": [[0, 1, 0, 0]]},
        {"predictions.csv": "rewire_id,label_pred\ns3,2. derogation\n"},
        {"eng_accuracy": 1.0, "eng_macro_f1": 0.25},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_made_up_files_become_a_valid_scored_zip(tmp_path: Path, name: str) -> None:
    files, answers, members, scores = CASES[name]
    task = load_task(name)
    if len(answers) > 1:  # one file for all languages has all of them
        scoring = task.scoring.model_copy(update={"languages": tuple(answers)})
        task = task.model_copy(update={"scoring": scoring})
    folder = tmp_path / "data"
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())
    written = {}
    for language, rows in answers.items():
        examples = read_examples(task, folder, "test", [language], labelled=False)
        written[language] = write_predictions(
            task, language, examples, np.array(rows, float), tmp_path / f"{language}.csv"
        )
    zip_path = tmp_path / "submission.zip"
    pack_submission(task, written, zip_path, folder)
    assert validate_submission(task, zip_path, folder).errors == []
    with zipfile.ZipFile(zip_path) as archive:
        packed = {info.filename: archive.read(info).decode() for info in archive.infolist()}
    assert packed == members
    score = score_submission(task, zip_path, folder)
    assert {key: score.scores[key] for key in scores} == scores
