"""Tasks: what the organisers fix, as declarative TOML files and their schema."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from semeval_kit.errors import KitError
from semeval_kit.task.check import find_errors
from semeval_kit.task.codec import column_names
from semeval_kit.task.metric_facts import METRIC_FACTS
from semeval_kit.task.schema import (
    Address,
    AnswerRules,
    Baseline,
    Codes,
    Data,
    Entry,
    Hub,
    Kind,
    Label,
    Labels,
    Range,
    Scoring,
    Section,
    Submission,
    Target,
    TargetTable,
)

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]*"


class Task(Section):
    """One task or track: targets, languages, files, submission layout and metric.

    `kind` and `labels` are those of the first target that is predicted. They stand at the top of
    the file for a task of one target, or are taken from a `[targets.NAME]` table.
    """

    name: str = Field(pattern=rf"^{NAME_PATTERN}$")
    title: str
    kind: Kind
    url: Address = ""
    notes: str = ""
    """What people should know before they use the file."""
    max_intensity: int = Field(default=3, ge=1)
    range: Range | None = None
    """Least and largest number of kind regression."""
    bounded: bool = True
    """Predictions of kind regression never leave the range."""
    target_tables: dict[Label, TargetTable] = Field(
        default={}, validation_alias=AliasChoices("targets", "target_tables")
    )
    """The `[targets.NAME]` tables."""
    main_table: str = ""
    """The table that kind and labels were taken from; not for people to set."""
    rules: AnswerRules = AnswerRules()
    cross_lingual: bool = False
    """Languages of training and prediction must not meet in a run."""
    seen_splits: tuple[Literal["train", "dev"], ...] = ("train", "dev")
    """In a cross-lingual task: splits of a predicted language that must not be trained on."""
    train_languages: Codes
    predict_languages: Codes
    labels: Labels
    data: Data
    submission: Submission
    scoring: Scoring
    baselines: tuple[Baseline, ...] = ()
    hub: Hub | None = None
    citations: tuple[Entry, ...] = ()
    """BibTeX entries for the task and its data."""
    recipe: str = "default"
    """The recipe that is used where a person names none."""
    practice: bool = False
    """The data is for trying things out: its scores say nothing about any leaderboard."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language of the task, those for training first."""
        return tuple(dict.fromkeys((*self.train_languages, *self.predict_languages)))

    def may_teach(self, split: str) -> bool:
        """Whether rows of a predicted language may be learnt from, labelled or not."""
        return not (self.cross_lingual and split in self.seen_splits)

    def narrowed(self, train: Iterable[str], predict: Iterable[str]) -> Task:
        """The same task in fewer languages, so that `all_labels` holds only what these have."""
        languages = {"train_languages": tuple(train), "predict_languages": tuple(predict)}
        return self.model_copy(update=languages)

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Union of the label sets over languages: the default's order, then the others'."""
        sets = (self.labels_for(language) for language in self.languages)
        union = dict.fromkeys(label for labels in sets for label in labels)
        usual = [label for label in self.labels.default if label in union]
        return tuple(dict.fromkeys((*usual, *union)))

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is learnt, at least one: `main` from kind and labels, then the tables."""
        prefixed = len(self.target_tables) + (not self.main_table) > 1
        tables = tuple(
            self._fill_table(name, table, prefixed) for name, table in self.target_tables.items()
        )
        if self.main_table:
            return tables
        data, labels = self.data, self.all_labels
        columns = dict(zip(self.labels.default, data.label_columns, strict=False))
        main = Target(
            labels=labels,
            **{key: getattr(self, key) for key in _SHARED_KEYS},
            **{ours: getattr(data, key) for key, ours in _DATA_KEYS.items() if ours != "columns"},
            columns=tuple(columns.get(label, label) for label in labels),
        )
        return (main, *tables)

    @property
    def main_targets(self) -> tuple[Target, ...]:
        """The targets that are predicted, scored and uploaded."""
        return tuple(target for target in self.targets if not target.auxiliary)

    def metrics_of(self, target: Target | None = None) -> tuple[str, ...]:
        """The metrics that the task names for a target (its first), in their order."""
        target = target or self.main_targets[0]
        named = self.scoring.by_target.get(target.name)
        return named or tuple(
            name for name in self.scoring.metrics if target.kind in METRIC_FACTS[name].kinds
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the columns of `Examples.labels`, those of all targets."""
        return tuple(name for target in self.targets for name in target.label_names)

    @property
    def label_slices(self) -> dict[str, slice]:
        """Target -> its columns in `Examples.labels`."""
        return _slice([(target.name, len(target.labels)) for target in self.targets])

    @property
    def target_slices(self) -> dict[str, slice]:
        """Target -> its encoded columns, in targets, logits and probs."""
        return _slice([(target.name, len(column_names(target))) for target in self.targets])

    def only(self, name: str) -> Task:
        """The same task with one of its targets alone, for what works on one target.

        Raises:
            KitError: the task has no such target.
        """
        by_name = {target.name: target for target in self.targets}
        if name not in by_name:
            hint = nearest(name, by_name)
            raise KitError(f"target '{name}' is not in task {self.name}{hint}.")
        target = by_name[name]
        metrics = self.scoring.by_target.get(name, self.scoring.metrics)
        scoring = self.scoring.model_copy(update={"metrics": metrics, "by_target": {}})
        alone: dict[str, Any] = {"target_tables": {}, "main_table": "", "scoring": scoring}
        if target.name != "main":
            alone |= {
                **{key: getattr(target, key) for key in _SHARED_KEYS},
                "labels": Labels(default=target.labels),
                "data": self.data.model_copy(
                    update={key: getattr(target, ours) for key, ours in _DATA_KEYS.items()}
                ),
            }
        return self.model_copy(update=alone)

    def without_auxiliary(self) -> Task:
        """The same task without what is learnt and never predicted."""
        tables = {name: t for name, t in self.target_tables.items() if not t.auxiliary}
        return self.model_copy(update={"target_tables": tables})

    def name_answers(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the columns of answers: of one target a language's labels, else those of all."""
        main = self.main_targets
        return labels if len(main) == 1 else tuple(n for target in main for n in target.label_names)

    @property
    def max_value(self) -> int:
        """Largest value of a label in `Examples` and in predictions."""
        return self.max_intensity if self.kind == "intensity" else 1

    def labels_for(self, language: str) -> tuple[str, ...]:
        """Label set of a language, in the organisers' column order."""
        return self.labels.by_language.get(language, self.labels.default)

    def baselines_for(self, language: str, metric: str) -> list[tuple[float, Baseline]]:
        """Published values of a metric for a language, best first."""
        published = [
            (baseline.values[language], baseline)
            for baseline in self.baselines
            if baseline.metric == metric and language in baseline.values
        ]
        return sorted(published, key=lambda pair: -pair[0])

    def check_languages(self, languages: Iterable[str]) -> tuple[str, ...]:
        """Return the languages as a tuple.

        Raises:
            KitError: a language is not one of the task's.
        """
        codes = tuple(languages)
        for language in codes:
            if language not in self.languages:
                hint = nearest(language, self.languages)
                raise KitError(
                    f"language '{language}' is not in task {self.name}{hint}. "
                    f"It has: {', '.join(self.languages)}."
                )
        return codes

    @model_validator(mode="before")
    @classmethod
    def _take_kind_from_a_table(cls, content: Any) -> Any:
        """Without a kind at the top, the first target that is predicted gives it and the labels."""
        tables = content.get("targets") if isinstance(content, dict) else None
        if not isinstance(tables, dict) or "kind" in content:
            return content
        for name, table in tables.items():
            if isinstance(table, dict) and "kind" in table and not table.get("auxiliary"):
                shared = {key: table[key] for key in _SHARED_KEYS if key in table}
                labels = {"default": table.get("labels") or [name]}
                return {**content, **shared, "labels": labels, "main_table": name}
        return content

    @model_validator(mode="after")
    def _agree(self) -> Task:
        errors = find_errors(self)
        if errors:
            context = {"errors": errors, "told": " ".join(errors)}
            raise PydanticCustomError("disagreement", "{told}", context)
        return self

    def _fill_table(self, name: str, table: TargetTable, prefixed: bool) -> Target:
        labels = table.labels or (self.all_labels if table.auxiliary else (name,))
        if table.kind == "regression":
            labels = table.labels or (name,)
        filled = {
            **dict(table),
            "name": name,
            "labels": labels,
            "layout": table.layout or ("name" if table.kind == "singlelabel" else "columns"),
            "column": table.column or name,
            "columns": table.columns or ((table.column,) if table.column else labels),
            "prefixed": prefixed,
        }
        return Target.model_validate(filled)


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
    except (ValueError, RecursionError) as error:  # of integers of 5,000 digits, of deep nesting
        raise KitError(f"{place}: not valid TOML: {error}. Correct the line.") from error
    try:
        task = Task.model_validate(table)
    except ValidationError as error:
        raise KitError(_describe(place, error)) from error
    if place.startswith("tasks/") and f"tasks/{task.name}.toml" != place and name_or_path != place:
        raise KitError(f"{place}: name is '{task.name}'; it must be the file's name.")
    return task


def write_template(path: Path, shape: Mapping[str, Any] | None = None) -> None:
    """Write a commented task file that can be loaded; its name is that of the file.

    Raises:
        KitError: the path does not end in .toml, its name does not suit a task, it exists, or the
            template has no such key.
    """
    name = path.stem
    if path.suffix != ".toml" or not re.fullmatch(NAME_PATTERN, name):
        raise KitError(
            f"{path}: a task file is named in lower case and ends in .toml, such as "
            "semeval2027-task5.toml. Choose another name."
        )
    if path.exists():
        raise KitError(f"{path}: is there already. Remove it or choose another name.")
    template = resources.files("semeval_kit.task") / "template.toml"
    text = template.read_text("utf-8").format(name=name, path=path)
    for key, value in (shape or {}).items():
        text = _set_key(text, key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint such as ` (did you mean 'eng'?)`, or nothing when no choice is near."""
    by_folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f" (did you mean '{by_folded[near[0]]}'?)" if near else ""


_SHARED_KEYS = ("kind", "max_intensity", "range", "bounded")
# Keys of `[data]` that say where labels stand -> the same of a target.
_DATA_KEYS = {
    **{f"label_{name}": name for name in ("layout", "column", "columns", "joiner")},
    **{name: name for name in ("none_word", "scopes", "values", "drop", "blank_words")},
    **{name: name for name in ("max_value", "binarize")},
}


def _slice(widths: list[tuple[str, int]]) -> dict[str, slice]:
    slices, start = {}, 0
    for name, width in widths:
        slices[name] = slice(start, start + width)
        start += width
    return slices


def _describe(place: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "task"
        if item["type"] == "extra_forbidden":
            hint = nearest(str(item["loc"][-1]), _keys_at(item["loc"][:-1]))
            lines.append(f"{place}: unknown key '{key}'{hint}. Remove or rename it.")
        elif item["type"] == "missing":
            lines.append(f"{place}: key '{key}' is missing. Add it.")
        elif item["type"] == "disagreement":
            lines += [f"{place}: {words}" for words in item["ctx"]["errors"]]
        else:
            message = item["msg"].removeprefix("Value error, ")
            shown = "" if key == "task" else f" '{key}' is {_short(item['input'])}:"
            lines.append(f"{place}:{shown} {message}. Correct it.")
    return "\n".join(lines)


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Task
    for part in path:
        field = model.model_fields.get("target_tables" if part == "targets" else str(part))
        kinds = (
            [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", [])]
        )
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else model
    return list(model.model_fields)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _set_key(text: str, key: str, value: Any) -> str:
    """Give a key of the template a value, and take the # from its line."""
    section, _, name = key.rpartition(".")
    lines, here = text.split("\n"), ""
    for number, line in enumerate(lines):
        here = line[1:-1] if line.startswith("[") else here
        if here == section and re.match(rf"(# )?{re.escape(name)} = ", line):
            comment = re.search(r"\s+# *(.*)$", line.removeprefix("# "))
            words = re.sub(r"^TODO\W*", "", comment.group(1)) if comment else ""
            spelled = f"{name} = {json.dumps(value, ensure_ascii=False)}"
            lines[number] = f"{spelled:<34} # {words}" if words else spelled
            return "\n".join(lines)
    raise KitError(f"{key}: the template has no such key. Choose one of its own.")
