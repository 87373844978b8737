"""Made-up tasks, data files and submissions."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from semeval_kit.competition.task import Task, load_task

HEADER = "id,anger,fear,joy"
TASK = """
name = "made-up"
title = "A task for tests"
kind = "multilabel"
train_languages = ["eng", "deu"]
predict_languages = ["eng", "deu", "ron"]

[labels]
default = ["anger", "fear", "joy"]

[labels.by_language]
deu = ["anger", "joy"]

[data.files]
train = ["track_a/train/{lang}.csv", "train/{lang}.csv"]
dev = ["dev/{lang}.csv"]
test = ["test/{lang}.csv"]

[submission]
member = "track_a/pred_{lang}.csv"

[scoring]
metrics = ["macro_f1", "micro_f1"]
rules = "2026"
languages = ["eng", "deu", "ron"]
"""


@pytest.fixture
def task_text() -> str:
    """The text of a small task file."""
    return TASK


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Task]:
    """Write the small task file with replacements (old, new), and load it."""

    def write(*replacements: tuple[str, str], text: str = TASK) -> Task:
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "task.toml"
        path.write_text(text, encoding="utf-8")
        return load_task(path)

    return write


@pytest.fixture
def task(write_task: Callable[..., Task]) -> Task:
    """The small task: eng and ron with anger, fear, joy; deu without fear."""
    return write_task()


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[..., Path]:
    """Write a zip of {name: text or bytes}."""

    def make(members: Mapping[str, str | bytes], name: str = "submission.zip") -> Path:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        path = tmp_path / name
        path.write_bytes(buffer.getvalue())
        return path

    return make


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """A folder with gold labels of eng (3 rows) and deu (2 rows)."""
    folder = tmp_path / "gold"
    folder.mkdir()
    (folder / "eng.csv").write_text(f"{HEADER}\n{GOLD_ROWS}", encoding="utf-8")
    (folder / "deu.csv").write_text("id,anger,joy\ndeu_test_1,1,0\ndeu_test_2,0,1\n")
    return folder


GOLD_ROWS = "eng_test_track_a_1,1,0,0\neng_test_track_a_2,0,1,1\neng_test_track_a_3,0,0,1\n"
