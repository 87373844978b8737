"""What the schema of a task file cannot see: keys that do not agree with each other.

Errors refuse the file when it is loaded; warnings are what a person has to decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from semeval_kit.task.codec import LAYOUTS
from semeval_kit.task.metric_facts import METRIC_FACTS, list_metrics
from semeval_kit.task.schema import FILE_KINDS, Member, Target

if TYPE_CHECKING:
    from semeval_kit.task.task import Task

_NOT_PREDICTED = "is no target that is predicted. Correct it."


def find_errors(task: Task) -> tuple[str, ...]:
    """Which keys contradict each other: files, labels, targets, columns, languages, metrics."""
    return (
        *_file_errors(task),
        *_member_errors(task),
        *_label_errors(task),
        *_target_errors(task),
        *_rule_errors(task),
        *_layout_errors(task),
        *_data_errors(task),
        *_column_errors(task),
        *_language_errors(task),
        *_scoring_errors(task),
    )


def _strangers(
    key: str, names: Iterable[str], allowed: Container[str], wrong: str
) -> Iterator[str]:
    """Names under a key that are not among those allowed, and what is wrong with them."""
    return (f"{key}: '{name}' {wrong}" for name in names if name not in allowed)


def _file_errors(task: Task) -> Iterator[str]:
    files = task.data.files
    every = [pattern for patterns in dict(files).values() for pattern in patterns]
    wrong = "is no pattern of data.files. Correct it."
    yield from _strangers("data.spelling", task.data.spelling, every, wrong)
    several = len(task.languages) > 1 and not task.data.language_column
    patterns = (*files.train, *files.dev, *files.test)
    if several and not all("{lang}" in pattern.lower() for pattern in patterns):
        yield "data.files: with several languages all patterns need {lang}. Add it."
    by_kind: dict[str, tuple[str, ...]] = {kind: getattr(files, kind) for kind in FILE_KINDS}
    for pattern in (*files.train, *files.train_labels):
        if "test" in PurePosixPath(pattern).name.casefold():
            yield (
                f"data.files.train: '{pattern}' has 'test' in its name, and the kit refuses to "
                "train on such a file. Rename it."
            )
    if not task.data.split_column:
        for one, other in (("train", "dev"), ("train", "test"), ("train", "gold"), ("dev", "test")):
            for pattern in set(by_kind[one]) & set(by_kind[other]):
                yield f"data.files: '{pattern}' stands for both {one} and {other}. Separate them."
    for kind, purpose in (("test", "predicted"), ("train", "learned")):
        if not by_kind[kind]:
            yield (
                f"data.files.{kind}: is empty, so nothing can be {purpose}. Name the {kind} file."
            )


def _member_errors(task: Task) -> Iterator[str]:
    main = [target.name for target in task.main_targets]
    codes = task.predict_languages
    paths: Counter[str] = Counter()
    for layout in task.submission.layouts:
        together = "{lang}" not in layout.member and task.data.language_column
        names = Counter(layout.member_for(code).casefold() for code in codes)
        paths.update(set(names))
        for name, count in names.items():
            if count > 1 and not together:
                yield f"submission.member: '{name}' serves {count} languages. Put {{lang}} in it."
            if count > 1 and together and not layout.id_column:
                yield f"submission.member: '{name}' serves {count} languages and needs ids."
        yield from _strangers("submission.targets", layout.targets, main, _NOT_PREDICTED)
    for name, count in paths.items():
        if count > 1:
            yield f"submission.members: '{name}' is there {count} times. Name each once."


def _label_errors(task: Task) -> Iterator[str]:
    labels = task.labels
    codes = dict.fromkeys((*labels.by_language, *labels.optional))
    wrong = "is no language of this task. Correct it."
    yield from _strangers("labels", codes, task.languages, wrong)
    for language, names in labels.optional.items():
        if not set(names) <= set(task.labels_for(language)):
            yield (
                f"labels.optional.{language}: names a label that the language does not have. "
                "Remove it."
            )
    for target in task.targets:
        if target.is_exclusive and len(target.labels) < 2:
            key = "labels" if target.name == "main" else f"targets.{target.name}.labels"
            yield f"{key}: kind '{target.kind}' needs two labels or more. Add them."


def _target_errors(task: Task) -> Iterator[str]:
    if "main" in task.target_tables:
        yield "targets.main: this name is for the labels at the top. Choose another."
    for target in task.targets:
        key = "" if target.name == "main" else f"targets.{target.name}."
        if target.kind == "regression" and target.range is None:
            yield f"{key}range: kind 'regression' needs the least and largest number. Add it."
        if target.file and not target.auxiliary:
            yield f"{key}file: only for an auxiliary target. Set auxiliary = true."
        yield from _spelling_errors(target, key or "data.")
    if not task.main_targets:
        yield "targets: all are auxiliary, so nothing is predicted. Make one a main target."


def _spelling_errors(target: Target, key: str) -> Iterator[str]:
    """How the cells of a target are spelled; `key` is the section that says it, with its dot."""
    label_key = "label_" if key == "data." else ""
    if target.layout not in LAYOUTS[target.kind]:
        yield (
            f"{key}{label_key}layout: '{target.layout}' does not fit kind '{target.kind}'. "
            "Change one."
        )
    if target.binarize and target.kind != "multilabel":
        yield f"{key}binarize: only for kind 'multilabel'. Remove it."
    if target.layout == "columns" and len(target.columns) != len(target.labels):
        yield f"{key}{label_key}columns: as many as there are labels are needed. Correct them."
    wrong = "is no label of this target. Add it there."
    yield from _strangers(f"{key}scopes", target.scopes, target.labels, wrong)
    if (target.layout == "scoped") != bool(target.scopes):
        yield f"{key}scopes: go with the layout 'scoped', and only with it."
    for spelling, label in target.values.items():
        if target.layout != "columns" and label not in target.labels:
            yield f"{key}values.{spelling}: '{label}' is no label of this task. Correct it."


def _rule_errors(task: Task) -> Iterator[str]:
    by_name = {target.name: target for target in task.targets}
    first = task.main_targets[0].labels if task.main_targets else ()
    for label, reverse in task.rules.reversal.items():
        if {label, reverse} - set(first) or task.rules.reversal.get(reverse) != label:
            yield (
                f"rules.reversal: '{label}' and '{reverse}' must be labels that turn into each "
                "other. Correct them."
            )
    if task.rules.reversal and not task.data.has_pairs:
        yield "rules.reversal: needs two texts per row. Name data.pair."
    for rule in task.rules.iff:
        for name, label in ((rule.target, rule.label), (rule.other, rule.other_label)):
            target = by_name.get(name)
            if target is None or label not in (*target.labels, target.none_word):
                yield f"rules.iff: '{name}' has no label '{label}'. Correct it."


def _layout_errors(task: Task) -> Iterator[str]:
    data, submission = task.data, task.submission
    sections: list[tuple[str, Any, str]] = [("data", data, data.label_layout)]
    kinds = {target.name: target.kind for target in task.main_targets}
    for member in submission.layouts:
        targets = member.targets or tuple(kinds)
        kind = kinds.get(targets[0]) if len(targets) == 1 else None
        if kind:
            sections.append(("submission", member, member.label_layout))
        if kind and member.label_layout not in LAYOUTS[kind]:
            yield (
                f"submission.label_layout: '{member.label_layout}' does not fit kind '{kind}'. "
                "Change one."
            )
        yield from _echo_errors(task, member)
    for section, keys, layout in sections:
        mark = {"joined": keys.label_joiner, "name": keys.delimiter}.get(layout)
        if layout == "name" and keys.quoted:
            continue
        for label in task.all_labels if mark is not None else ():
            if not mark or mark in label:
                yield f"labels: '{label}' holds {mark!r}, which separates in {section}. Rename it."


def _data_errors(task: Task) -> Iterator[str]:
    data = task.data
    if not data.header and not data.columns:
        yield "data.columns: name the columns, because data.header is false."
    if data.header and data.columns:
        yield "data.columns: leave it out, because the file has a header line."
    if data.split_from_right and data.quoted:
        yield "data.split_from_right: needs data.quoted = false."
    if data.pair and data.pair_separator:
        yield "data.pair: either this or data.pair_separator cuts the second text. Keep one."
    if data.group_column and data.group_pattern:
        yield "data.group_column: either this or data.group_pattern is the key. Keep one."


def _echo_errors(task: Task, member: Member) -> Iterator[str]:
    """What a file of the zip repeats of the data files."""
    if member.id_column and not task.data.id_column:
        yield "submission.id_column: the data files have no id column. Set it to ''."
    wrong = "is not in data.text_columns. Add it there."
    columns = task.data.text_columns
    yield from _strangers("submission.text_columns", member.text_columns, columns, wrong)


def _column_errors(task: Task) -> Iterator[str]:
    data = task.data
    labels = [
        column
        for target in task.targets
        if not target.file
        for column in (target.columns if target.layout == "columns" else (target.column,))
    ]
    columns = [*([data.id_column] if data.id_column else []), *data.input_columns]
    for column, count in Counter([*columns, *dict.fromkeys(labels), *data.ignored_columns]).items():
        if count > 1:
            yield f"data: column '{column}' has {count} roles (id, text, label, ignored). Keep one."
    if data.header:
        return
    wrong = "is missing, and the file has no header. Add it."
    yield from _strangers("data.columns", (*columns, *labels), data.columns, wrong)


def _language_errors(task: Task) -> Iterator[str]:
    if task.cross_lingual:
        for language in task.predict_languages:
            if not set(task.train_languages) - {language}:
                yield f"train_languages: nothing is left to train on for '{language}'. Add one."
    if task.hub is not None:
        codes, wrong = (*task.hub.languages, *task.hub.configs), "is no language of this task."
        yield from _strangers("hub", codes, task.languages, f"{wrong} Remove it.")
    for place, baseline in enumerate(task.baselines):
        key, wrong = f"baselines.{place}.values", "is not in predict_languages. Remove it."
        yield from _strangers(key, baseline.values, task.predict_languages, wrong)


def _scoring_errors(task: Task) -> Iterator[str]:
    scoring, kinds = task.scoring, dict.fromkeys(target.kind for target in task.main_targets)
    suited = {metric for kind in kinds for metric in list_metrics(kind)}
    for metric in scoring.metrics:
        if metric not in suited:
            shown = " or ".join(f"'{kind}'" for kind in kinds)
            goes = [f"'{kind}'" for kind in METRIC_FACTS[metric].kinds]
            yield (
                f"scoring.metrics: '{metric}' goes with kind {' or '.join(goes)}, not with "
                f"{shown}; that has: {', '.join(sorted(suited))}."
            )
    yield from _by_target_errors(task)
    several = len(task.main_targets) > 1 or len(task.submission.layouts) > 1
    if scoring.rules != "generic" and several:
        yield f"scoring.rules: '{scoring.rules}' knows one target and file. Choose 'generic'."
    codes, excluded = task.predict_languages, scoring.excluded_labels
    wrong = "is not in predict_languages. Correct it."
    yield from _strangers("scoring.languages", scoring.languages, codes, wrong)
    wrong = "is no label of this task. Remove it."
    yield from _strangers("scoring.excluded_labels", excluded, task.all_labels, wrong)
    if scoring.excluded_labels and not set(task.all_labels) - set(scoring.excluded_labels):
        yield "scoring.excluded_labels: no label is left to score. Shorten the list."
    if scoring.rules != "generic" and task.submission.label_layout != "columns":
        yield (
            f"scoring.rules: '{scoring.rules}' reads one column per label; with layout "
            f"'{task.submission.label_layout}' choose 'generic'."
        )
    for metric in scoring.metrics:
        key = {"spread": "spread_column", "reverse": "reverse_column"}.get(
            METRIC_FACTS[metric].needs
        )
        if key and not getattr(scoring, key):
            yield f"scoring.{key}: metric '{metric}' needs it. Name the column of the gold file."
        if METRIC_FACTS[metric].needs == "groups" and not task.data.has_groups:
            yield f"data.group_column: metric '{metric}' needs it. Name the column."
    if METRIC_FACTS[scoring.metrics[0]].needs == "groups":
        yield f"scoring.metrics: '{scoring.metrics[0]}' cannot come first. Name another before it."


def _by_target_errors(task: Task) -> Iterator[str]:
    by_name = {target.name: target for target in task.main_targets}
    yield from _strangers("scoring.by_target", task.scoring.by_target, by_name, _NOT_PREDICTED)
    for name, named in task.scoring.by_target.items():
        for metric in named if name in by_name else ():
            if by_name[name].kind not in METRIC_FACTS[metric].kinds:
                kind = by_name[name].kind
                yield f"scoring.by_target.{name}: '{metric}' is not for kind '{kind}'. Drop it."


def find_warnings(task: Task, text: str = "") -> Iterator[str]:
    """What may be wrong with a task file, for a person to decide; `text` is that of the file."""
    yield from _todo_warnings(text)
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


def _todo_warnings(text: str) -> Iterator[str]:
    unexplained = []
    for number, line in enumerate(text.splitlines(), start=1):
        before, mark, words = line.partition("TODO")
        words = words.strip(' :;,"')
        if not mark or line.startswith("#"):
            continue
        if words and before.endswith("# "):
            yield f"line {number} says TODO: {words}"
        else:
            unexplained.append(str(number))
    if unexplained:
        lines = "lines" if len(unexplained) > 1 else "line"
        yield f"TODO is still on {lines} {', '.join(unexplained)}: fill them in."
