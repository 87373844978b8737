"""Tasks: what the organisers fix, as declarative TOML files and their schema."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from semeval_kit.errors import KitError
from semeval_kit.task.schema import (
    Baseline,
    Data,
    Hub,
    Kind,
    Labels,
    Scoring,
    Section,
    Submission,
)

SPLITS = ("train", "dev", "test")


class Task(Section):
    """One task or track: kind, labels, languages, files, submission layout and metric."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    kind: Kind
    url: str = ""
    notes: str = ""
    """What people should know before they use the file."""
    max_intensity: int = Field(default=3, ge=1)
    cross_lingual: bool = False
    """Languages of training and prediction must not meet in a run."""
    seen_splits: tuple[Literal["train", "dev"], ...] = ("train", "dev")
    """In a cross-lingual task: splits of a predicted language that must not be trained on."""
    train_languages: tuple[str, ...] = Field(min_length=1)
    predict_languages: tuple[str, ...] = Field(min_length=1)
    labels: Labels
    data: Data
    submission: Submission
    scoring: Scoring
    baselines: tuple[Baseline, ...] = ()
    hub: Hub | None = None
    citations: tuple[str, ...] = ()
    """BibTeX entries for the task and its data."""
    recipe: str = "default"
    """The recipe that is used where a person names none."""
    practice: bool = False
    """The data is for trying things out: its scores say nothing about any leaderboard."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language of the task, those for training first."""
        return tuple(dict.fromkeys((*self.train_languages, *self.predict_languages)))

    def narrowed(self, train: Iterable[str], predict: Iterable[str]) -> Task:
        """The same task in fewer languages, so that `all_labels` holds only what these have."""
        languages = {"train_languages": tuple(train), "predict_languages": tuple(predict)}
        return self.model_copy(update=languages)

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Union of the label sets over languages: the default's order, then the others'."""
        sets = (self.labels_for(language) for language in self.languages)
        union = dict.fromkeys(label for labels in sets for label in labels)
        known = [label for label in self.labels.default if label in union]
        return tuple(dict.fromkeys((*known, *union)))

    @property
    def max_value(self) -> int:
        """Largest value of a label in `Examples` and in predictions."""
        return self.max_intensity if self.kind == "intensity" else 1

    @property
    def file_max_value(self) -> int:
        """Largest value of a label cell in the data files."""
        return self.data.max_value or self.max_value

    def labels_for(self, language: str) -> tuple[str, ...]:
        """Label set of a language, in the organisers' column order."""
        return self.labels.by_language.get(language, self.labels.default)

    def baselines_for(self, language: str, metric: str) -> list[tuple[float, Baseline]]:
        """Published values of a metric for a language, best first."""
        found = [
            (baseline.values[language], baseline)
            for baseline in self.baselines
            if baseline.metric == metric and language in baseline.values
        ]
        return sorted(found, key=lambda pair: -pair[0])

    def check_languages(self, languages: Iterable[str]) -> tuple[str, ...]:
        """Return the languages as a tuple.

        Raises:
            KitError: a language is not one of the task's.
        """
        chosen = tuple(languages)
        for language in chosen:
            if language not in self.languages:
                hint = nearest(language, self.languages)
                raise KitError(
                    f"language '{language}' is not in task {self.name}{hint}. "
                    f"It has: {', '.join(self.languages)}."
                )
        return chosen

    @model_validator(mode="after")
    def _check_consistency(self) -> Task:
        for problem in (*_label_problems(self), *_layout_problems(self)):
            raise ValueError(problem)
        return self


def list_tasks() -> list[str]:
    """Names of the tasks that come with the kit, sorted."""
    folder = resources.files("semeval_kit.task") / "files"
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read_task_source(name_or_path: str | Path) -> tuple[str, str]:
    """Where a task file lies and its text, as (place, TOML text).

    Raises:
        KitError: there is no such task or file, or it is not UTF-8.
    """
    name = str(name_or_path)
    if not name.endswith(".toml"):
        if name not in list_tasks():
            raise KitError(
                f"task '{name}' is unknown{nearest(name, list_tasks())}. Known tasks: "
                f"{', '.join(list_tasks())}. For a file of your own give a path ending in .toml."
            )
        entry = resources.files("semeval_kit.task") / "files" / f"{name}.toml"
        return f"tasks/{name}.toml", entry.read_text(encoding="utf-8")
    try:
        return name, Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise KitError(f"{name}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise KitError(f"{name}: not UTF-8 text. Save the file as UTF-8.") from error


def load_task(name_or_path: str | Path) -> Task:
    """Load a task by its name, or from a person's own file when the name ends in .toml.

    Raises:
        KitError: the task is unknown, or its file breaks the schema; file and key are named.
    """
    place, text = read_task_source(name_or_path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KitError(f"{place}: not valid TOML: {error}. Correct the line.") from error
    try:
        task = Task.model_validate(table)
    except ValidationError as error:
        raise KitError(_describe(place, error)) from error
    if place.startswith("tasks/") and f"tasks/{task.name}.toml" != place and name_or_path != place:
        raise KitError(f"{place}: name is '{task.name}'; it must be the file's name.")
    return task


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint such as ` (did you mean 'eng'?)`, or nothing when no choice is near."""
    by_folded = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f" (did you mean '{by_folded[found[0]]}'?)" if found else ""


def _label_problems(task: Task) -> Iterable[str]:
    known, labels = set(task.languages), task.labels
    for language in {*labels.by_language, *labels.optional} - known:
        yield f"labels: '{language}' is no language of this task"
    for language, names in labels.optional.items():
        if not set(names) <= set(task.labels_for(language)):
            yield f"labels.optional.{language}: names a label that the language does not have"
    for language in set(task.scoring.languages) - set(task.predict_languages):
        yield f"scoring.languages: '{language}' is not in predict_languages"
    for names in (labels.default, *labels.by_language.values()):
        if len(set(names)) != len(names) or not names or not all(names):
            yield "labels: every label set needs names that are unique and not empty"
    for label in set(task.scoring.excluded_labels) - set(task.all_labels):
        yield f"scoring.excluded_labels: '{label}' is no label of this task"
    for alias, label in task.data.aliases.items():
        if label not in task.all_labels:
            yield f"data.aliases.{alias}: '{label}' is no label of this task"


def _layout_problems(task: Task) -> Iterable[str]:
    data, submission = task.data, task.submission
    fits: dict[str, set[str]] = {
        "multilabel": {"columns", "joined"},
        "singlelabel": {"name"},
        "intensity": {"columns"},
    }
    for section, layout in (
        ("data", data.label_layout),
        ("submission", submission.label_layout),
    ):
        if layout not in fits[task.kind]:
            yield f"{section}.label_layout: '{layout}' does not fit kind '{task.kind}'"
    if not data.header and not data.columns:
        yield "data.columns: name the columns, because data.header is false"
    if data.header and data.columns:
        yield "data.columns: leave it out, because the file has a header line"
    if data.binarize and task.kind != "multilabel":
        yield "data.binarize: only for kind 'multilabel'"
    if data.split_from_right and data.quoted:
        yield "data.split_from_right: needs data.quoted = false"
    if submission.id_column and not data.id_column:
        yield "submission.id_column: the data files have no id column"
    for column in submission.text_columns:
        if column not in data.text_columns:
            yield f"submission.text_columns: '{column}' is not in data.text_columns"
    patterns = (*data.files.train, *data.files.dev, *data.files.test, submission.member)
    if len(task.languages) > 1 and not all("{lang}" in pattern.lower() for pattern in patterns):
        yield "data.files and submission.member: with several languages all patterns need {lang}"
    metrics = set(task.scoring.metrics)
    if ("pearson_r" in metrics) != (task.kind == "intensity"):
        yield "scoring.metrics: pearson_r goes with kind 'intensity', and only with it"


def _describe(place: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "task"
        if item["type"] == "extra_forbidden":
            hint = nearest(str(item["loc"][-1]), _keys_at(item["loc"][:-1]))
            lines.append(f"{place}: unknown key '{key}'{hint}. Remove or rename it.")
        elif item["type"] == "missing":
            lines.append(f"{place}: key '{key}' is missing. Add it.")
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = "" if key == "task" else f" '{key}' is {_short(item['input'])}:"
            lines.append(f"{place}:{shown} {message}. Correct it.")
    return "\n".join(lines)


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Task
    for part in path:
        field = model.model_fields.get(str(part))
        kinds = (
            [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", [])]
        )
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else model
    return list(model.model_fields)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
