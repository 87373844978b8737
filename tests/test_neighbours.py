"""Every task file through the whole pipeline: made-up data, a tiny encoder, a zip and a score."""

from __future__ import annotations

import csv
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semeval_kit.files import read_json
from semeval_kit.probs import read_probs
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine, run_all
from semeval_kit.task.codec import target_names
from semeval_kit.task.schema import fill_language
from semeval_kit.task.task import Task, list_tasks, load_task

pytestmark = pytest.mark.trains

SIZES = {"train": 40, "dev": 10, "test": 10}
OTHER_SHAPES = ("demo", "semeval2019-task6", "semeval2023", "semeval2024", "semeval2026-task5")
"""Not one file per split and language with a text in each row: see tests/data/test_shapes.py."""


def write_task_data(task: Task, folder: Path, language: str) -> None:
    """Write made-up files of a language in whatever layout the task file describes."""
    draw = random.Random(f"{task.name}:{language}")
    for split, size in SIZES.items():
        rows = [draw_row(task, language, draw) for _ in range(size)]
        files = task.data.files
        blank = split == "test" and bool(files.gold)
        write_table(task, folder, getattr(files, split)[0], language, split, rows, blank)
        if blank:
            write_table(task, folder, files.gold[0], language, split, rows, False)


def draw_row(task: Task, language: str, draw: random.Random) -> tuple[list[str], list[int]]:
    """Text columns and values of the language's labels; the text names what is positive."""
    labels = task.labels_for(language)
    if task.kind == "singlelabel":
        chosen = draw.randrange(len(labels))
        values = [int(position == chosen) for position in range(len(labels))]
    else:
        values = [
            draw.choice([0, 0, *range(1, task.targets[0].file_max_value + 1)]) for _ in labels
        ]
    if task.data.label_layout == "joined" and not any(values):
        values[draw.randrange(len(labels))] = 1
    words = [label.lower() for label, value in zip(labels, values, strict=True) if value]
    texts = [f"{draw.random():.6f} {' '.join(words)} bara dosi" for _ in task.data.text_columns]
    return texts, values


def write_table(
    task: Task,
    folder: Path,
    pattern: str,
    language: str,
    split: str,
    rows: list[tuple[list[str], list[int]]],
    blank: bool,
) -> None:
    """Write one file."""
    data, labels = task.data, task.labels_for(language)
    names = labels if data.label_layout == "columns" else (data.label_column,)
    blank_word = data.blank_words[0] if data.blank_words else ""
    columns = list(data.columns) or [
        *([data.id_column] if data.id_column else []),
        *data.text_columns,
        *(names if not blank or data.label_layout == "columns" else ()),
    ]
    lines = [columns] if data.header else []
    for number, (texts, values) in enumerate(rows, start=1):
        cells = dict(zip(data.text_columns, texts, strict=True))
        if data.id_column:
            cells[data.id_column] = f"{language}_{split}_{number:03d}"
        chosen = [label for label, value in zip(labels, values, strict=True) if value]
        if data.label_layout == "columns":
            cells |= dict(zip(labels, map(str, values), strict=True))
        else:
            cells[data.label_column] = data.label_joiner.join(chosen)
        if blank:
            cells |= dict.fromkeys(names, blank_word)
        lines.append([cells[column] for column in columns])
    buffer = io.StringIO(newline="")
    if data.quoted:
        csv.writer(buffer, delimiter=data.delimiter, lineterminator="\n").writerows(lines)
    else:
        buffer.writelines(data.delimiter.join(line) + "\n" for line in lines)
    path = folder / fill_language(pattern, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(buffer.getvalue(), encoding="utf-8")


def languages_of(task: Task) -> tuple[str, tuple[str, ...]]:
    """A language to predict, and those to learn from."""
    predicted = task.predict_languages[0]
    if task.cross_lingual:
        return predicted, tuple(g for g in task.train_languages if g != predicted)[:2]
    predicted = next(g for g in task.predict_languages if g in task.train_languages)
    return predicted, (predicted,)


@pytest.mark.parametrize(
    "name", [n for n in list_tasks() if not n.startswith((*OTHER_SHAPES, "semeval2027"))]
)
def test_from_files_to_score(
    name: str, tmp_path: Path, make_plan: Callable[..., Any], in_process: list[dict[str, Any]]
) -> None:
    task = load_task(name)
    predicted, learnt = languages_of(task)
    data = tmp_path / "data"
    for language in {predicted, *learnt}:
        write_task_data(task, data, language)
    gold = None
    if not task.data.files.gold:
        gold = tmp_path / "gold"
        write_gold(task, data, gold, predicted)
    # The tiny encoder is too narrow to fold a mean head of 18 events into it.
    pooling = "cls" if task.kind == "intensity" else "mean"
    plan = make_plan((predicted,), task=name, data=data, train_languages=learnt, pooling=pooling)
    said: list[str] = []
    run = run_all(tmp_path / "submissions" / "a", plan, Engine(), gold, said.append)

    with zipfile.ZipFile(run.zip_file) as archive:
        assert archive.namelist() == [task.submission.member_for(predicted)]
    score = read_json(run.score_file)
    assert score["accepted"], score["message"]
    assert [entry["language"] for entry in score["languages"]] == [predicted]
    metrics = set(task.scoring.metrics) - {"macro_auc"}
    assert metrics <= set(score["languages"][0]["metrics"])
    check_probs(run, task, predicted)
    estimate = read_json(run.estimate_file)
    low, value, high = (estimate["cross_fitted"][key] for key in ("low", "score", "high"))
    assert low <= value <= high


def write_gold(task: Task, data: Path, gold: Path, language: str) -> None:
    """Gold apart from the texts, for tasks whose test files may hold the labels themselves."""
    gold.mkdir()
    source = data / fill_language(task.data.files.test[0], language)
    target = gold / fill_language(task.data.files.test[0], language)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


def check_probs(run: Run, task: Task, language: str) -> None:
    """Probabilities are complete, and sum to 1 where labels exclude each other."""
    probs = read_probs(run.probs_file("test", language))
    assert len(probs) == SIZES["test"]
    assert probs.target_names == target_names(run.task)
    assert np.all((probs.values > 0) & (probs.values < 1))
    if task.kind == "singlelabel":
        np.testing.assert_allclose(probs.values.sum(axis=1), 1.0, atol=1e-9)
