"""Looks at a task file for what the schema cannot see, before a deadline finds it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from semeval_kit.errors import KitError
from semeval_kit.task.task import SPLITS, Task

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]*"
PLACEHOLDERS = ("lang", "Lang")
METRICS = {
    "multilabel": {
        "macro_f1",
        "micro_f1",
        "jaccard",
        "accuracy",
        "weighted_precision",
        "weighted_recall",
        "weighted_f1",
        "macro_auc",
    },
    "singlelabel": {
        "macro_f1",
        "micro_f1",
        "accuracy",
        "weighted_precision",
        "weighted_recall",
        "weighted_f1",
        "macro_auc",
    },
    "intensity": {"pearson_r"},
}


@dataclass(frozen=True)
class Findings:
    """What is wrong with a task file (errors) and what may be wrong (warnings)."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def inspect_task(task: Task) -> Findings:
    """Check patterns, labels, languages, metric, baselines and sources of a loaded task.

    The schema has already been checked by `load_task`; this adds what concerns several fields
    at once or what a person has to decide (warnings).
    """
    errors = [
        *_pattern_errors(task),
        *_member_errors(task),
        *_label_errors(task),
        *_column_errors(task),
        *_language_errors(task),
        *_hub_errors(task),
        *_scoring_errors(task),
        *_source_errors(task),
    ]
    return Findings(tuple(errors), tuple(_warnings(task)))


def write_template(path: Path) -> None:
    """Write a commented task file that passes `inspect_task`; its name is that of the file.

    Raises:
        KitError: the path does not end in .toml, its name does not suit a task, or it exists.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(template.read_text("utf-8").format(name=name, path=path), encoding="utf-8")


def _pattern_errors(task: Task) -> Iterator[str]:
    files = task.data.files
    by_split = {"train": files.train, "dev": files.dev, "test": files.test, "gold": files.gold}
    for split, patterns in by_split.items():
        for pattern in patterns:
            yield from _path_errors(f"data.files.{split}", pattern)
        for pattern, count in Counter(patterns).items():
            if count > 1:
                yield f"data.files.{split}: '{pattern}' is named twice. Keep one."
    for pattern in files.train:
        if "test" in PurePosixPath(pattern).name.casefold():
            yield (
                f"data.files.train: '{pattern}' has 'test' in its name, and the kit refuses to "
                "train on such a file. Rename it."
            )
    for one, other in (("train", "dev"), ("train", "test"), ("train", "gold"), ("dev", "test")):
        for pattern in set(by_split[one]) & set(by_split[other]):
            yield f"data.files: '{pattern}' stands for both {one} and {other}. Separate them."
    if not files.test:
        yield "data.files.test: is empty, so nothing can be predicted. Name the test file."
    if not files.train:
        yield "data.files.train: is empty, so nothing can be learned. Name the train file."


def _member_errors(task: Task) -> Iterator[str]:
    yield from _path_errors("submission.member", task.submission.member)
    names = Counter(task.submission.member_for(code).casefold() for code in task.predict_languages)
    for name, count in names.items():
        if count > 1:
            yield f"submission.member: '{name}' serves {count} languages. Put {{lang}} into it."
    zip_name = task.submission.zip_name
    if zip_name and (not zip_name.endswith(".zip") or "/" in zip_name):
        yield f"submission.zip_name: '{zip_name}' is no file name that ends in .zip. Correct it."


def _path_errors(key: str, pattern: str) -> Iterator[str]:
    path = PurePosixPath(pattern)
    # Data may lie beside the folder (a track that trains on another's); a zip has no beside.
    climbs = ".." in (path.parts if key == "submission.member" else path.parts[1:])
    if not pattern or path.is_absolute() or climbs or "\\" in pattern:
        yield f"{key}: '{pattern}' must be a relative path with / and without '..'. Correct it."
    found = re.findall(r"\{([^{}]*)\}", pattern)
    # The validator reads the code out of a member's name, so it stands there as it is.
    known = PLACEHOLDERS[:1] if key == "submission.member" else PLACEHOLDERS
    unknown = [name for name in found if name not in known]
    if unknown or pattern.count("{") != len(found) or pattern.count("}") != len(found):
        allowed = " or ".join(f"{{{name}}}" for name in known)
        yield f"{key}: '{pattern}' has a placeholder other than {allowed}. Correct it."


def _label_errors(task: Task) -> Iterator[str]:
    for labels in (task.labels.default, *task.labels.by_language.values()):
        folded = Counter(label.strip().casefold() for label in labels)
        for label, count in folded.items():
            if count > 1:
                yield f"labels: '{label}' is named {count} times in one set. Keep one."
        if task.kind == "singlelabel" and len(labels) < 2:
            yield "labels: kind 'singlelabel' needs two labels or more. Add them."
    for label in task.all_labels:
        if label != label.strip() or any(mark in label for mark in "\n\r\t\0"):
            yield f"labels: {label!r} has blanks around it or a control character. Remove them."
    for section, layout in (("data", task.data), ("submission", task.submission)):
        if layout.label_layout == "columns":
            continue
        mark = layout.label_joiner if layout.label_layout == "joined" else layout.delimiter
        for label in task.all_labels:
            if not mark or mark in label:
                yield f"labels: '{label}' holds {mark!r}, which separates in {section}. Rename it."


def _column_errors(task: Task) -> Iterator[str]:
    data = task.data
    named = data.label_layout != "columns"
    labels = (data.label_column,) if named else task.all_labels
    columns = [*([data.id_column] if data.id_column else []), *data.text_columns]
    for column, count in Counter([*columns, *labels, *data.ignored_columns]).items():
        if count > 1:
            yield f"data: column '{column}' has {count} roles (id, text, label, ignored). Keep one."
    if data.header:
        return
    for column in (*columns, *labels):
        if column not in data.columns:
            yield f"data.columns: '{column}' is missing, and the file has no header. Add it."
    for column, count in Counter(data.columns).items():
        if count > 1:
            yield f"data.columns: '{column}' is named {count} times. Keep one."


def _language_errors(task: Task) -> Iterator[str]:
    for key, languages in (
        ("train_languages", task.train_languages),
        ("predict_languages", task.predict_languages),
        ("scoring.languages", task.scoring.languages),
    ):
        for language, count in Counter(languages).items():
            if count > 1:
                yield f"{key}: '{language}' is named {count} times. Keep one."
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", language):
                yield f"{key}: '{language}' is no language code (letters, digits, - and _)."
    if task.cross_lingual:
        for language in task.predict_languages:
            if not set(task.train_languages) - {language}:
                yield f"train_languages: nothing is left to train on for '{language}'. Add one."


def _hub_errors(task: Task) -> Iterator[str]:
    if task.hub is None:
        return
    for language in (*task.hub.languages, *task.hub.configs):
        if language not in task.languages:
            yield f"hub: '{language}' is no language of this task. Remove it."
    for split in task.hub.splits:
        if split not in SPLITS:
            yield f"hub.splits: '{split}' is none of {', '.join(SPLITS)}. Correct it."


def _scoring_errors(task: Task) -> Iterator[str]:
    for metric in task.scoring.metrics:
        if metric not in METRICS[task.kind]:
            known = ", ".join(sorted(METRICS[task.kind]))
            yield f"scoring.metrics: '{metric}' is not for kind '{task.kind}'; it has: {known}."
    official = task.scoring.rules != "generic"
    if official and task.submission.label_layout != "columns":
        yield (
            f"scoring.rules: '{task.scoring.rules}' reads one column per label; with layout "
            f"'{task.submission.label_layout}' choose 'generic'."
        )
    if task.scoring.excluded_labels and not set(task.all_labels) - set(
        task.scoring.excluded_labels
    ):
        yield "scoring.excluded_labels: no label is left to score. Shorten the list."


def _source_errors(task: Task) -> Iterator[str]:
    for place, baseline in enumerate(task.baselines):
        key = f"baselines[{place}] ({baseline.system})"
        for language in baseline.values:
            if language not in task.predict_languages:
                yield f"{key}: '{language}' is not in predict_languages. Remove it."
        low = -1.0 if baseline.metric == "pearson_r" else 0.0
        values = [*baseline.values.values(), *([baseline.average] if baseline.average else [])]
        for value in values:
            if not low <= value <= 1.0:
                yield f"{key}: {value} is no fraction of 1. Divide per cent by 100."
        if not values:
            yield f"{key}: has neither values nor an average. Add one or remove it."
        if not baseline.source.strip():
            yield f"{key}: has no source. Say in which paper or table the value stands."
    for key, url in (
        ("url", task.url),
        *((f"baselines ({b.system})", b.url) for b in task.baselines),
    ):
        if url and not re.match(r"https?://[^\s/]+", url):
            yield f"{key}: '{url}' is no web address. Begin it with https://."
    for place, entry in enumerate(task.citations):
        if not entry.lstrip().startswith("@"):
            yield f"citations[{place}]: is no BibTeX entry. Begin it with @."


def _warnings(task: Task) -> Iterator[str]:
    if "TODO" in f"{task.title} {task.url}":
        yield "title or url still says TODO: fill in the template."
    if not task.url:
        yield "url is empty: nobody learns where the competition lives."
    if not task.citations:
        yield "citations is empty: the paper's reference list will lack the task."
    trained = set(task.train_languages)
    if not task.cross_lingual:
        untrained = [code for code in task.predict_languages if code not in trained]
        if untrained:
            yield f"no train split for {', '.join(untrained)}: train on other languages for them."
    unscored = [code for code in task.predict_languages if code not in task.scoring.languages]
    if unscored:
        yield f"predicted but not scored: {', '.join(unscored)}."
    for baseline in task.baselines:
        if baseline.metric not in task.scoring.metrics:
            yield f"baseline {baseline.system}: the task does not use its metric {baseline.metric}."
