"""The sections of a task file: labels, files and their spelling, submission, scoring, sources."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["multilabel", "singlelabel", "intensity"]
Layout = Literal["columns", "name", "joined"]
Rules = Literal["2026", "2025", "generic"]
Metric = Literal[
    "macro_f1",
    "micro_f1",
    "jaccard",
    "accuracy",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "macro_auc",
    "pearson_r",
]
SPLITS = ("train", "dev", "test")
Char = Annotated[str, Field(min_length=1, max_length=1)]


class Section(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Labels(Section):
    """The label set: one for all languages, and others for languages that differ."""

    default: tuple[str, ...] = Field(min_length=1)
    by_language: dict[str, tuple[str, ...]] = {}
    optional: dict[str, tuple[str, ...]] = {}
    """Labels that a language's data files may lack, though predictions must have them."""


class Files(Section):
    """Where each split lies below the data folder: patterns with `{lang}`, tried in order."""

    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    gold: tuple[str, ...] = ()
    """Labels of the test split, where they lie apart from its texts."""

    @model_validator(mode="after")
    def _check_patterns(self) -> Files:
        for pattern in (*self.train, *self.dev, *self.test, *self.gold):
            if PurePosixPath(pattern).is_absolute() or "\\" in pattern or "*" in pattern:
                raise ValueError(
                    f"pattern '{pattern}' must be a relative path with / and without wildcards"
                )
        return self


class Data(Section):
    """How the organisers' data files are spelled."""

    files: Files
    delimiter: Char = ","
    quoted: bool = True
    """Cells may be quoted as in CSV; false means that a quote is an ordinary character."""
    split_from_right: bool = False
    """Cut a line at its last delimiters, because the first column may hold some unquoted."""
    header: bool = True
    columns: tuple[str, ...] = ()
    """Column names in file order, needed when there is no header line."""
    id_column: str = "id"
    """Name of the id column; empty means that rows are known by their position."""
    text_columns: tuple[str, ...] = Field(default=("text",), min_length=1)
    text_joiner: str = " "
    """What joins several text columns into one text."""
    ignored_columns: tuple[str, ...] = ()
    label_layout: Layout = "columns"
    """columns: one column per label; name: one column names the label; joined: several names."""
    label_column: str = "label"
    """The column that holds names, for the layouts name and joined."""
    label_joiner: str = "/"
    none_word: str = ""
    """The word for "no label at all" in the layout joined."""
    blank_words: tuple[str, ...] = ()
    """Words that stand for a blank label cell, such as NONE."""
    aliases: dict[str, str] = {}
    """Other spellings of label names in the layouts name and joined: spelling -> label."""
    max_value: int | None = Field(default=None, ge=1)
    """Largest value of a label cell in the files; default 1, or max_intensity."""
    binarize: bool = False
    """Read 0..max_value as present (above 0) or absent."""
    max_megabytes: float = Field(default=64.0, gt=0)


class Submission(Section):
    """How a prediction file and the zip around it are spelled."""

    member: str = "pred_{lang}.csv"
    """Path in the zip, `{lang}` where the language stands."""
    zip_name: str = ""
    """The name that the zip must have; empty if any will do."""
    delimiter: Char = ","
    quoted: bool = True
    header: bool = True
    id_column: str = "id"
    """Name of the id column; empty means that row order counts."""
    text_columns: tuple[str, ...] = ()
    """Text columns of the test file that are echoed, between id and labels."""
    label_layout: Layout = "columns"
    label_column: str = "label"
    label_joiner: str = "/"
    none_word: str = ""
    """What a row without labels says in the layout joined; it may be a label, such as neutral."""
    uploads_per_day: int | None = None
    uploads_total: int | None = None

    @property
    def name_pattern(self) -> re.Pattern[str]:
        """The last part of `member` as a pattern whose group `lang` is the language."""
        head, mark, tail = PurePosixPath(self.member).name.partition("{lang}")
        group = "(?P<lang>.*)" if mark else ""
        return re.compile(f"{re.escape(head)}{group}{re.escape(tail)}", re.DOTALL)

    @property
    def folder(self) -> str:
        """The folder in the zip that holds the predictions; empty for its root."""
        folder = str(PurePosixPath(self.member).parent)
        return "" if folder == "." else folder

    def member_for(self, language: str) -> str:
        """Path in the zip of the predictions for a language."""
        return fill_language(self.member, language)


class Scoring(Section):
    """What the leaderboard computes."""

    metrics: tuple[Metric, ...] = Field(min_length=1)
    """The first one ranks."""
    rules: Rules = "generic"
    excluded_labels: tuple[str, ...] = ()
    """Labels that do not count in F1, precision and recall (others, neutral)."""
    languages: tuple[str, ...] = Field(min_length=1)
    """Languages over which the average runs."""
    missing_languages: Literal["zero", "skip"] = "zero"
    """zero: a language that is left out counts 0 in the average; skip: it does not count."""


class Baseline(Section):
    """Results that a system published."""

    system: str
    metric: Metric
    values: dict[str, float] = {}
    """Language -> value on the official test, as a fraction of 1."""
    average: float | None = None
    source: str
    url: str = ""
    note: str = ""


class Hub(Section):
    """Where the data lies on huggingface.co."""

    repo: str
    revision: str = "main"
    configs: dict[str, str] = {}
    """Language -> config name, where it is not the language's code."""
    languages: tuple[str, ...] = ()
    """Languages that the data set holds; empty means all."""
    splits: dict[str, str] = {"train": "train", "dev": "dev", "test": "test"}
    licence: str = ""

    def config_for(self, language: str) -> str:
        """Name of the config that holds a language."""
        return self.configs.get(language, language)


def fill_language(pattern: str, language: str) -> str:
    """Put a language's code into a pattern: as it is for {lang}, capitalised for {Lang}."""
    return pattern.replace("{lang}", language).replace("{Lang}", language.capitalize())
