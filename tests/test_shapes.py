"""Task files of other shapes through the whole pipeline, on made-up files in their layout."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from semeval_kit.cli import main
from semeval_kit.files import read_json
from semeval_kit.probs import read_probs
from semeval_kit.run.stages import Engine, run_all
from semeval_kit.task.codec import target_names

pytestmark = pytest.mark.trains

FILLERS = ("bara", "dosi", "kilu", "meno", "noba", "wondi", "grumo", "tremba")
SIZES = {"train": 40, "dev": 10, "test": 10}
Maker = Callable[[Path, str, int, random.Random], None]


def draw_text(draw: random.Random) -> str:
    return " ".join(draw.choices(FILLERS, k=5))


def write(folder: Path, name: str, rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter, lineterminator="\n").writerows(rows)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(path.read_text() if path.exists() else "", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(buffer.getvalue())


def make_relatedness(folder: Path, split: str, size: int, draw: random.Random) -> None:
    rows: list[Sequence[Any]] = []
    for number in range(size):
        one, other = draw_text(draw), draw_text(draw)
        rows.append((f"ENG-{split}-{number}", f"{one}\n{other}", round(draw.random(), 2)))
    header = ("PairID", "Text", "Score")
    name = {"train": "train", "dev": "dev_with_labels", "test": "test_with_labels"}[split]
    write(folder, f"eng/eng_{name}.csv", [header, *rows])
    if split == "test":
        write(folder, "eng/eng_test.csv", [row[:2] for row in (header, *rows)])


def make_stories(folder: Path, split: str, size: int, draw: random.Random) -> None:
    stories = {}
    for number in range(size):
        texts = ("judged_meaning", "precontext", "sentence", "ending", "example_sentence")
        ratings = [draw.randint(1, 5) for _ in range(5)]
        stories[str(number)] = {
            "homonym": f"{split}{number % 8}",
            **{name: draw_text(draw) for name in texts},
            "choices": ratings,
            "average": float(np.mean(ratings)),
            "stdev": float(np.std(ratings, ddof=1)),
            "nonsensical": [False] * 5,
            "sample_id": str(number),
        }
        if split == "test":
            hidden = ("choices", "average", "stdev", "nonsensical")
            stories[str(number)] |= dict.fromkeys(hidden, "(???)")
    folder.mkdir(exist_ok=True)
    (folder / f"{split}.json").write_text(json.dumps(stories), encoding="utf-8")


def make_pairs(folder: Path, split: str, size: int, draw: random.Random) -> None:
    header = ["instance_id", "pair_id", "text1_lang", "text2_lang", "text1", "text2", "label"]
    reversal = {"FORWARD_ENTAILMENT": "BACKWARD_ENTAILMENT", "EQUIVALENCE": "EQUIVALENCE"}
    rows: list[Sequence[Any]] = [header]
    for number in range(size // 2):
        one, other = draw_text(draw), draw_text(draw)
        label = draw.choice(sorted(reversal))
        pair = f"{split}{number}"
        rows.append((f"{pair}__original", pair, "en", "en", one, other, label))
        rows.append((f"{pair}__flipped", pair, "en", "en", other, one, reversal[label]))
    labelled = "unlabeled" if split == "test" else "labeled"
    rows = [row[:-1] for row in rows] if split == "test" else rows
    write(folder, f"final_data/{split}/dico_nli_{split}_track1_participant_{labelled}.csv", rows)


def make_comments(folder: Path, split: str, size: int, draw: random.Random) -> None:
    header = ["StereoQueerEval_id", "yt_title", "yt_description", "yt_comment"]
    header += ["stereotype", "hate_speech", "target"]
    rows: list[Sequence[Any]] = [header]
    for number in range(size):
        hate = draw.choice(("no", "yes_implicit", "yes_explicit"))
        aim = "none" if hate == "no" else draw.choice(("group_lgbtqia+", "individual_t,nb"))
        comment = f"{draw_text(draw)}\n{draw_text(draw)}"
        labels = (draw.choice(("yes", "no")), hate, aim)
        rows.append((f"{split}_{number}", f"title {number % 9}", "about", comment, *labels))
    if split == "test":
        rows = [row[:4] for row in rows]
    if split != "dev":
        name = "training" if split == "train" else "test"
        write(folder, f"StereoQueerEval_EN_{name}.tsv", rows, "\t")


def make_captions(folder: Path, split: str, size: int, draw: random.Random) -> None:
    header = ["painting", "image_name", "image_id", "art_style", "genre", "language", "caption"]
    emotions = ("awe", "fear", "contentment", "something else")
    rows: list[Sequence[Any]] = []
    for number in range(size):
        language = ("English", "Hausa")[number % 2]
        rows.append((f"{split}{number // 4}", "i", "1", "s", "g", language, draw_text(draw)))
    if split == "test":
        rows = [(f"st1_{number}", *row, "test") for number, row in enumerate(rows)]
        write(folder, "annotations/artelingo28_test.csv", [["id", *header, "split"], *rows])
        return
    word = {"train": "train", "dev": "val"}[split]
    rows = [(*row, draw.choice(emotions), word) for row in rows]
    top = [[*header, "emotion", "split"]] if split == "train" else []
    write(folder, "annotations/artelingo28_train_val.csv", [*top, *rows])


def make_compounds(folder: Path, split: str, size: int, draw: random.Random) -> None:
    rows: list[Sequence[Any]] = [["ContextID", "Compound", "Mod", "Head", "Context"]]
    rows[0] = [*rows[0], "ModAvg", "HeadAvg"]
    for number in range(size):
        numbers = (round(draw.uniform(0, 5), 2), round(draw.uniform(0, 5), 2))
        rows.append((f"{split}{number}", f"c{number // 4}", "m", "h", draw_text(draw), *numbers))
    if split != "dev":
        rows = [row[:5] for row in rows] if split == "test" else rows
        write(folder, f"en-nn-{split}.tsv", rows, "\t")


def make_offences(folder: Path, split: str, size: int, draw: random.Random) -> None:
    header = ["id", "tweet", "subtask_a", "subtask_b", "subtask_c"]
    words = ("TIN", "UNT", "NULL") if split == "train" else ("TIN", "UNT")
    rows = [
        (f"{split}{n}", draw_text(draw), "OFF", draw.choice(words), "NULL") for n in range(size)
    ]
    if split == "train":
        write(folder, "olid-training-v1.0.tsv", [header, *rows], "\t")
    elif split == "test":
        write(folder, "testset-levelb.tsv", [header[:2], *(row[:2] for row in rows)], "\t")
        write(folder, "labels-levelb.csv", [(row[0], row[3]) for row in rows])


def make_sexism(folder: Path, split: str, size: int, draw: random.Random) -> None:
    header = ["rewire_id", "text", "label_sexist", "label_category", "label_vector", "split"]
    words = ("none", "2. derogation", "3. animosity", "1. threats, plans to harm and incitement")
    rows = [
        (f"{split}{number}", draw_text(draw), "-", draw.choice(words), "-", split)
        for number in range(size)
    ]
    top = [header] if split == "train" else []
    write(folder, "edos_labelled_aggregated.csv", [*top, *rows])


CASES: dict[str, tuple[Maker, tuple[str, ...], bool]] = {
    "semeval2024-task1-a": (make_relatedness, ("eng",), True),
    "semeval2026-task5": (make_stories, ("eng",), False),
    "semeval2027-task2-track1": (make_pairs, ("eng",), False),
    "semeval2027-stereoqueereval": (make_comments, ("EN",), False),
    "semeval2027-artemotion28-st1": (make_captions, ("English", "Hausa"), False),
    "semeval2027-task5-nn": (make_compounds, ("en",), False),
    "semeval2019-task6-b": (make_offences, ("eng",), True),
    "semeval2023-task10-b": (make_sexism, ("eng",), True),
}
"""Task -> who makes its files, in which languages, and whether the test split has labels."""


@pytest.mark.parametrize("name", CASES)
def test_from_files_to_a_zip(
    name: str, tmp_path: Path, make_plan: Callable[..., Any], in_process: list[dict[str, Any]]
) -> None:
    make, languages, has_gold = CASES[name]
    for split, size in SIZES.items():
        make(tmp_path / "data", split, size, random.Random(f"{name} {split}"))
    plan = make_plan(languages, task=name, data=tmp_path / "data", train_languages=languages)
    said: list[str] = []
    run = run_all(tmp_path / "submissions" / "a", plan, Engine(), None, said.append)

    members = {
        layout.member_for(language)
        for layout in run.task.submission.layouts
        for language in languages
        if layout.filled
    }
    with zipfile.ZipFile(run.zip_file) as archive:
        assert set(archive.namelist()) == members
    assert any("incomplete" in line for line in said) == any(
        not layout.filled for layout in run.task.submission.layouts
    )
    columns = [c for t in run.task.main_targets for c in _columns(run.task.target_slices[t.name])]
    probs = read_probs(run.probs_file("test", languages[0]))
    assert probs.target_names == tuple(target_names(run.task)[column] for column in columns)
    assert np.isfinite(probs.values).all()
    folds, rows = run.read_folds(), run.read_train()
    fold_of = [folds[key] for key in zip(rows.languages, rows.ids, strict=True)]
    assert len(set(zip(rows.groups, fold_of, strict=False))) == len(set(rows.groups))
    assert read_json(run.estimate_file)["n_examples"] == len(rows)
    assert run.score_file.is_file() == has_gold
    if has_gold:
        score = read_json(run.score_file)
        assert score["accepted"], score["message"]
        assert set(run.task.scoring.metrics) <= set(score["languages"][0]["metrics"])


def test_what_is_said_of_several_targets_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, size in SIZES.items():
        make_comments(tmp_path, split, size, random.Random(split))
    monkeypatch.chdir(tmp_path)
    words = ("--task", "semeval2027-stereoqueereval", "--data", ".", "--langs", "EN")
    done = CliRunner().invoke(
        main, ["run", *words, "--model", "tfidf", "--folds", "2", "--run", "mine"]
    )
    assert done.exit_code == 0, done.output
    (warned,) = re.findall(r"warning: EN has (.*), but no training row", done.output)
    assert {name.partition(":")[0] for name in warned.split(", ")} == {"target"}
    estimate = read_json(tmp_path / "submissions" / "mine" / "estimate.json")
    assert f"Out-of-fold macro-F1 of stereotype on {SIZES['train']} rows" in done.output
    for name, metric, words_ in (
        ("hate_speech", "macro_f1", "macro-F1"),
        ("target", "exact_match", "exact match"),  # of scoring.by_target
    ):
        figures = estimate["targets"][name]
        assert figures["metric"] == metric
        assert f"  target {name}: {words_} {figures['cross_fitted']['score']:.4f} [" in done.output
    page = (tmp_path / "submissions" / "mine" / "report.html").read_text(encoding="utf-8")
    assert "exact match" in page
    checked = CliRunner().invoke(main, ["data", "check", words[1], "--data", ".", "--langs", "EN"])
    assert "positives in the order stereotype:yes / stereotype:no / hate_speech:no" in (
        checked.output
    )
    (row,) = [line for line in checked.output.splitlines() if line.startswith("train ")]
    assert " - " not in row


def _columns(part: slice) -> range:
    return range(part.start, part.stop)
