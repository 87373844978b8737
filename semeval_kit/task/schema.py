"""The sections of a task file: targets, labels, files and their spelling, submission, scoring.

What one key alone can have wrong is refused here; `task.check` holds keys against each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from semeval_kit.task.metric_facts import EXCLUSIVE, METRIC_FACTS, NUMERIC

Kind = Literal["multilabel", "singlelabel", "intensity", "regression", "distribution"]
Layout = Literal["columns", "name", "joined", "scoped"]
Split = Literal["train", "dev", "test"]
Rules = Literal["2026", "2025", "generic"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")
FILE_KINDS = (*SPLITS, "gold")
"""What a data file may be: a split, or the labels of the test split where they lie apart."""
Char = Annotated[str, Field(min_length=1, max_length=1)]


def _check_metric(name: str) -> str:
    if name not in METRIC_FACTS:
        raise ValueError(f"there is no such metric; known are {', '.join(METRIC_FACTS)}")
    return name


def _check_path(pattern: str, placeholders: tuple[str, ...], outside: bool) -> str:
    path = PurePosixPath(pattern)
    climbs = ".." in (path.parts[1:] if outside else path.parts)
    if not pattern or path.is_absolute() or climbs or set("\\*") & set(pattern):
        raise ValueError("must be a relative path with /, without '..' and without wildcards")
    named = re.findall(r"\{([^{}]*)\}", pattern)
    closed = pattern.count("{") == len(named) == pattern.count("}")
    if not closed or not set(named) <= set(placeholders):
        shown = " or ".join(f"{{{name}}}" for name in placeholders)
        raise ValueError(f"has a placeholder other than {shown}")
    return pattern


def _check_code(code: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", code):
        raise ValueError("is no language code (letters, digits, - and _)")
    return code


def _check_label(label: str) -> str:
    if not label or label != label.strip() or any(mark in label for mark in "\n\r\t\0"):
        raise ValueError("is empty, or has blanks around it or a control character")
    return label


def _check_template(text: str) -> str:
    if "{" in text and text.count("{") != len(template_columns(text)):
        raise ValueError("has a brace without its partner")
    return text


def _check_address(url: str) -> str:
    if url and not re.match(r"https?://[^\s/]+", url):
        raise ValueError("is no web address: begin it with https://")
    return "" if "TODO" in url else url  # what a draft holds in its place leads nowhere


def _check_entry(entry: str) -> str:
    if not entry.lstrip().startswith("@"):
        raise ValueError("is no BibTeX entry: begin it with @")
    return entry


def _check_range(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError("the first number must be below the second")
    return limits


def _check_unique(names: tuple[str, ...]) -> tuple[str, ...]:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"'{name}' is named {count} times, not unique")
    return names


def _check_labels(names: tuple[str, ...]) -> tuple[str, ...]:
    _check_unique(tuple(name.casefold() for name in names))
    return names


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Metric = Annotated[str, AfterValidator(_check_metric)]
"""A name in `metric_facts`."""
# Data may lie beside the folder (a track that trains on another's); a zip has no beside, and the
# validator reads the code out of a member's name, so it stands there as it is.
Pattern = Annotated[str, AfterValidator(lambda text: _check_path(text, ("lang", "Lang"), True))]
MemberPattern = Annotated[str, AfterValidator(lambda text: _check_path(text, ("lang",), False))]
Patterns = Annotated[tuple[Pattern, ...], AfterValidator(_check_unique)]
Template = Annotated[str, AfterValidator(_check_template)]
Address = Annotated[str, AfterValidator(_check_address)]
Code = Annotated[str, AfterValidator(_check_code)]
Codes = Annotated[tuple[Code, ...], Field(min_length=1), AfterValidator(_check_unique)]
Label = Annotated[str, AfterValidator(_check_label)]
LabelSet = Annotated[tuple[Label, ...], Field(min_length=1), AfterValidator(_check_labels)]
Entry = Annotated[str, AfterValidator(_check_entry)]
Range = Annotated[tuple[float, float], AfterValidator(_check_range)]


class Section(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Labels(Section):
    """The label set: one for all languages, and others for languages that differ."""

    default: LabelSet
    by_language: dict[str, LabelSet] = {}
    optional: dict[str, tuple[str, ...]] = {}
    """Labels that a language's data files may lack, though predictions must have them."""


class TargetTable(Section):
    """A `[targets.NAME]` table: what is learnt from some of the columns."""

    kind: Kind
    labels: tuple[Label, ...] = ()
    """Names of the labels or numbers; empty: for an auxiliary target those of the first target,
    for a regression the target's own name."""
    max_intensity: int = Field(default=3, ge=1)
    range: Range | None = None
    """Least and largest number of kind regression."""
    bounded: bool = True
    """Predictions of kind regression never leave the range."""
    weight: float = Field(default=1.0, gt=0)
    """Of the target's loss in the sum over targets."""
    auxiliary: bool = False
    """Learnt, never predicted."""
    file: Annotated[tuple[Pattern, ...], BeforeValidator(_as_tuple)] = ()
    """Patterns of the train file that holds an auxiliary target, joined by id or text."""
    layout: Layout | None = None
    """As `data.label_layout`; by default `name` for singlelabel, `columns` for other kinds."""
    column: str = ""
    """The column of the layouts name, joined and scoped; by default the target's name."""
    columns: tuple[str, ...] = ()
    """The columns of the layout columns, in the order of the labels; by default the labels."""
    joiner: str = "/"
    none_word: str = ""
    """The word for "no label at all" in the layouts joined and scoped."""
    scopes: tuple[str, ...] = ()
    """First labels of the layout scoped: a cell is a scope, `_` and labels joined by `joiner`."""
    values: dict[str, str] = {}
    """Other spellings in cells -> label, or value in the layout columns."""
    drop: tuple[str, ...] = ()
    """Cells whose rows are left out."""
    blank_words: tuple[str, ...] = ()
    """Words that mean "not annotated", such as NULL."""
    max_value: int | None = Field(default=None, ge=1)
    binarize: bool = False


class Target(TargetTable):
    """A target of a loaded task: its table with every default filled in."""

    name: str = "main"
    layout: Layout = "columns"
    prefixed: bool = False
    """Its columns are named `NAME:label`, because the task has others beside it."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of its columns in `Examples.labels`."""
        if not self.prefixed:
            return self.labels
        if self.kind == "regression" and len(self.labels) == 1:
            return (self.name,)
        return tuple(f"{self.name}:{label}" for label in self.labels)

    @property
    def is_numeric(self) -> bool:
        """Whether its labels are real numbers."""
        return self.kind in NUMERIC

    @property
    def is_exclusive(self) -> bool:
        """Whether its labels share one probability."""
        return self.kind in EXCLUSIVE

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest number of a label, for the kinds that are numbers."""
        return (self.range or (0.0, 1.0)) if self.kind == "regression" else (0.0, 1.0)

    @property
    def largest(self) -> int:
        """Largest value of a label, for the kinds that count: 1, or the highest intensity."""
        return self.max_intensity if self.kind == "intensity" else 1

    @property
    def file_max_value(self) -> int:
        """Largest value of a label cell in the data files, for the kinds that count."""
        return self.max_value or self.largest


class Iff(Section):
    """A target has a label if and only if another target has another: decided together."""

    target: str
    label: str
    """A label of the target, or the none_word of a multilabel target: no label at all."""
    other: str
    other_label: str


class AnswerRules(Section):
    """What binds answers to each other."""

    reversal: dict[str, str] = {}
    """Label -> label that holds when text and pair are swapped, for the first target."""
    iff: tuple[Iff, ...] = ()


class Files(Section):
    """Where each split lies below the data folder: patterns with `{lang}`, tried in order."""

    train: Patterns = ()
    dev: Patterns = ()
    test: Patterns = ()
    gold: Patterns = ()
    """Labels of the test split, where they lie apart from its texts."""
    train_labels: Patterns = ()
    """Labels of the train split, where they lie apart: joined by id, or by line without ids."""
    dev_labels: Patterns = ()


class Spelling(Section):
    """How a file is written that differs from the others."""

    delimiter: Char | None = None
    quoted: bool | None = None
    header: bool | None = None
    columns: tuple[str, ...] | None = None
    encoding: str | None = None
    id_column: str | None = None


class Data(Section):
    """How the organisers' data files are spelled."""

    files: Files
    format: Literal["", "table", "json", "jsonl", "parquet"] = ""
    """What the files are; by default what their ending says, and a delimited table otherwise."""
    encoding: str = "utf-8"
    delimiter: Char = ","
    quoted: bool = True
    """Cells may be quoted as in CSV; false means that a quote is an ordinary character."""
    split_from_right: bool = False
    """Cut a line at its last delimiters, because the first column may hold some unquoted."""
    header: bool = True
    columns: Annotated[tuple[str, ...], AfterValidator(_check_unique)] = ()
    """Column names in file order, needed when there is no header line."""
    spelling: dict[str, Spelling] = {}
    """Pattern of `files` -> what is different in those files."""
    id_column: str = "id"
    """Name of the id column; empty means that rows are known by their position."""
    text_columns: tuple[str, ...] = Field(default=("text",), min_length=1)
    text_joiner: str = " "
    """What joins several text columns into one text."""
    text: Template = ""
    """A template over columns that takes the place of text_columns: "{title}: {body}"."""
    pair: Template = ""
    """The second text: a column, or a template over columns."""
    pair_separator: str = ""
    """Cuts the text at its first such mark into text and pair, instead of `pair`."""
    context: Template = ""
    """What is read beside the text and is cut before it: a column, or a template."""
    group_column: str = ""
    """A column whose equal values stay in one fold and in one bootstrap draw."""
    group_pattern: str = ""
    """Instead: a pattern on the id; what its groups match, or all of its match, is the value."""
    combine_files: bool = False
    """Read every pattern of a split that exists one after the other, not only the first."""
    split_column: str = ""
    """The column that names the split, where one file holds several."""
    split_values: dict[str, str] = {}
    """The organisers' word in the split column -> train, dev or test."""
    language_column: str = ""
    """The column that names the language, where one file holds several."""
    language_values: dict[str, str] = {}
    """The organisers' word in the language column -> language code."""
    ignored_columns: tuple[str, ...] = ()
    """Columns that are not read; "*" stands for all that nothing else names."""
    label_layout: Layout = "columns"
    """columns: one column per label; name: one column names the label; joined: several names;
    scoped: a scope, `_` and several names."""
    label_column: str = "label"
    """The column that holds names, for the layouts name, joined and scoped."""
    label_columns: tuple[str, ...] = ()
    """Columns of the layout columns where they are not named like the labels, in their order."""
    label_joiner: str = "/"
    none_word: str = ""
    """The word for "no label at all" in the layouts joined and scoped."""
    scopes: tuple[str, ...] = ()
    """Those of the labels that are scopes, for the layout scoped."""
    blank_words: tuple[str, ...] = ()
    """Words that stand for a blank label cell, such as NONE."""
    values: dict[str, str] = Field(default={}, validation_alias=AliasChoices("values", "aliases"))
    """Other spellings in label cells: spelling -> label, or value in the layout columns."""
    drop: tuple[str, ...] = ()
    """Label cells whose rows are left out, such as "something else"."""
    max_value: int | None = Field(default=None, ge=1)
    """Largest value of a label cell in the files; default 1, or max_intensity."""
    binarize: bool = False
    """Read 0..max_value as present (above 0) or absent."""
    max_megabytes: float = Field(default=64.0, gt=0)

    @field_validator("group_pattern")
    @classmethod
    def _check_group_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no pattern ({error})") from error
        return pattern

    def spelling_for(self, path: Path, language: str) -> Spelling:
        """What is different in a file, by the end of its path."""
        for pattern, spelling in self.spelling.items():
            if path.as_posix().endswith(fill_language(pattern, language)):
                return spelling
        return Spelling()

    @property
    def has_pairs(self) -> bool:
        """Whether a row has a second text."""
        return bool(self.pair or self.pair_separator)

    @property
    def has_groups(self) -> bool:
        """Whether rows have a group key."""
        return bool(self.group_column or self.group_pattern)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Every column that text, pair and context are made from."""
        texts = template_columns(self.text) if self.text else self.text_columns
        return tuple(
            dict.fromkeys((*texts, *template_columns(self.pair), *template_columns(self.context)))
        )


class Member(Section):
    """How a file in the zip is spelled."""

    member: MemberPattern = "pred_{lang}.csv"
    """Path in the zip, `{lang}` where the language stands; without it one file for all."""
    targets: tuple[str, ...] = ()
    """The targets whose answers it holds, in this order; empty means all that are predicted."""
    filled: bool = True
    """False: what it holds is made elsewhere (by a model of pictures), so that a zip without it is
    incomplete."""
    format: Literal["", "table", "jsonl"] = ""
    """jsonl: one JSON object per row, with the columns as keys; empty goes by the ending of
    `member`."""
    delimiter: Char = ","
    quoted: bool = True
    header: bool = True
    header_check: Literal["exact", "loose"] = "exact"
    """loose: the scorer only counts columns, and knows the id column in any case."""
    blank_lines: Literal["skipped", "refused"] = "skipped"
    id_column: str = "id"
    """Name of the id column; empty means that row order counts."""
    text_columns: tuple[str, ...] = ()
    """Text columns of the test file that are echoed, between id and labels."""
    label_layout: Layout = "columns"
    """Of a file with one target; several are laid out as in the data."""
    label_column: str = "label"
    label_joiner: str = "/"
    none_word: str = ""
    """What a row without labels says in the layout joined; it may be a label, such as neutral."""
    columns: dict[str, str] = {}
    """Label or target -> name of its column, where that differs."""
    values: dict[str, str] = {}
    """Label -> its spelling in this file, such as positive = "1"."""
    number_format: str = "{:.6g}"
    """Of real numbers, such as "{:.2f}"."""
    order: Literal["test", "id"] = "test"
    """Rows as in the test file, or by id."""

    @field_validator("number_format")
    @classmethod
    def _check_number_format(cls, spelling: str) -> str:
        try:
            float(spelling.format(0.123))
        except (ValueError, IndexError, KeyError, AttributeError) as error:
            raise ValueError("is no format of a number, such as '{:.2f}'") from error
        return spelling

    @property
    def is_jsonl(self) -> bool:
        """Whether it has one JSON object per row."""
        return (self.format or PurePosixPath(self.member).suffix.lower()[1:]) == "jsonl"

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


class Submission(Member):
    """The zip, and how its files are spelled: one kind of file, or several `members`."""

    zip_name: str = ""
    """The name that the zip must have; empty if any will do."""
    members: tuple[Member, ...] = ()
    """`[[submission.members]]`: several kinds of file; what one does not say is as above."""
    site: str = ""
    """Address of the competition on a Codabench site, where it is not the task's url."""
    uploads_per_day: int | None = None
    uploads_total: int | None = None

    @field_validator("zip_name")
    @classmethod
    def _check_zip_name(cls, name: str) -> str:
        if name and (not name.endswith(".zip") or "/" in name):
            raise ValueError("is no file name that ends in .zip")
        return name

    @property
    def layouts(self) -> tuple[Member, ...]:
        """The kinds of file in the zip, at least one."""
        return self.members or (self,)

    @model_validator(mode="before")
    @classmethod
    def _share_keys(cls, content: Any) -> Any:
        """A member takes from the section what it does not say itself."""
        if not isinstance(content, dict) or not isinstance(content.get("members"), list | tuple):
            return content
        shared = {key: content[key] for key in Member.model_fields if key in content}
        members = [
            shared | member if isinstance(member, dict) else member for member in content["members"]
        ]
        return content | {"members": members}


class Scoring(Section):
    """What the leaderboard computes."""

    metrics: tuple[Metric, ...] = Field(min_length=1)
    """The first one ranks."""
    rules: Rules = "generic"
    by_target: dict[str, tuple[Metric, ...]] = {}
    """Target -> its metrics, where several targets are scored by different ones."""
    average: Literal["rows", "groups"] = "rows"
    """groups: within a language the mean over groups of rows, not one figure of all rows."""
    excluded_labels: tuple[str, ...] = ()
    """Labels that do not count in F1, precision and recall (others, neutral)."""
    languages: Codes
    """Languages over which the average runs."""
    missing_languages: Literal["zero", "skip"] = "zero"
    """zero: a language that is left out counts 0 in the average; skip: it does not count."""
    spread_column: str = ""
    """Column of the gold file with the standard deviation of the ratings, for within_sd."""
    reverse_column: str = ""
    """Column of the gold file with the id of the reciprocal row, for soft_cons and hard_cons."""

    def counted(self, labels: Iterable[str]) -> tuple[bool, ...]:
        """Which of some labels count in the score."""
        return tuple(label not in self.excluded_labels for label in labels)


class Baseline(Section):
    """Results that a system published."""

    system: str
    metric: Metric
    values: dict[str, float] = {}
    """Language -> value on the official test, as a fraction of 1."""
    average: float | None = None
    source: str
    """In which paper or table the values stand."""
    url: Address = ""
    note: str = ""

    @model_validator(mode="after")
    def _check_values(self) -> Baseline:
        facts = METRIC_FACTS[self.metric]
        values = [*self.values.values(), *([self.average] if self.average else [])]
        for value in values:
            if not facts.lowest <= value <= (facts.highest or float("inf")):
                raise ValueError(f"{value} is no fraction of 1: divide per cent by 100")
        if not values:
            raise ValueError("has neither values nor an average")
        if not self.source.strip():
            raise ValueError("has no source: say in which paper or table the value stands")
        return self


class Hub(Section):
    """Where the data lies on huggingface.co."""

    repo: str
    revision: str = "main"
    configs: dict[str, str] = {}
    """Language -> config name, where it is not the language's code."""
    languages: tuple[str, ...] = ()
    """Languages that the data set holds; empty means all."""
    splits: dict[Split, str] = {"train": "train", "dev": "dev", "test": "test"}
    licence: str = ""

    def config_for(self, language: str) -> str:
        """Name of the config that holds a language."""
        return self.configs.get(language, language)


def fill_language(pattern: str, language: str) -> str:
    """Put a language's code into a pattern: as it is for {lang}, capitalised for {Lang}."""
    return pattern.replace("{lang}", language).replace("{Lang}", language.capitalize())


def template_columns(text: str) -> tuple[str, ...]:
    """The columns that a template names; a text without braces is itself a column's name."""
    if "{" not in text:
        return (text,) if text else ()
    return tuple(re.findall(r"\{([^{}]*)\}", text))
