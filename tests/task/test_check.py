"""What a check of a task file finds beyond the schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from semeval_kit.errors import KitError
from semeval_kit.task.check import find_warnings
from semeval_kit.task.schema import Section
from semeval_kit.task.task import Task, load_task, write_template

BASELINE = (
    '\n[[baselines]]\nsystem = "S"\nmetric = "macro_f1"\nvalues = { eng = 0.7 }\nsource = "T"\n'
)


def errors_of(
    write_task: Callable[..., Task], *changes: tuple[str, str], **given: str
) -> list[str]:
    """The errors with which a changed task file is refused, without its path."""
    with pytest.raises(KitError) as refused:
        write_task(*changes, **given)
    return [line.split("task.toml: ")[1] for line in refused.value.message.splitlines()]


def test_the_small_task_is_sound(task: Task) -> None:
    assert list(find_warnings(task)) == [
        "url is empty: nobody learns where the competition lives.",
        "citations is empty: the paper's reference list will lack the task.",
        "no train split for ron: train on other languages for them.",
    ]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('dev = ["dev/{lang}.csv"]', 'dev = ["dev/{lang}/{split}.csv"]', "placeholder other than"),
        ('dev = ["dev/{lang}.csv"]', 'dev = ["dev/{lang}{.csv"]', "placeholder other than"),
        ('dev = ["dev/{lang}.csv"]', 'dev = ["dev/../{lang}.csv"]', "without '..'"),
        ('dev = ["dev/{lang}.csv"]', 'dev = ["train/{lang}.csv"]', "both train and dev"),
        ('dev = ["dev/{lang}.csv"]', 'dev = ["test/{lang}.csv"]', "both dev and test"),
        ('"train/{lang}.csv"]', '"track_a/train/{lang}.csv"]', "{lang}.csv' is named 2 times"),
        ('"train/{lang}.csv"]', '"train/{lang}_test.csv"]', "has 'test' in its name"),
        ('test = ["test/{lang}.csv"]', "", "data.files.test: is empty"),
        (
            'member = "track_a/pred_',
            'member = "../pred_',
            "'submission.member' is '../pred_{lang}.csv': must be a relative path",
        ),
        ("pred_{lang}", "pred_{Lang}", "has a placeholder other than {lang}."),
        ('member = "', 'zip_name = "a/b.zip"\nmember = "', "no file name that ends in .zip"),
        ('"fear", "joy"]', '"fear", "Fear"]', "'fear' is named 2 times, not unique"),
        ('"fear", "joy"]', '"fear", " joy"]', "is ' joy': is empty, or has blanks around it"),
        ('"fear", "joy"]', '"fear", "text"]', "column 'text' has 2 roles"),
        (
            'train_languages = ["eng", "deu"]',
            'train_languages = ["eng", "eng", "deu"]',
            "'eng' is named 2 times, not unique",
        ),
        (
            '"deu", "ron"]\n\n[labels]',
            '"deu", "ron", "x y"]\n\n[labels]',
            "'x y': is no language code",
        ),
        ('"macro_f1", "micro_f1"]', '"macro_f1", "pearson_r"]', "pearson_r"),
        ('title = "A', 'citations = ["Someone 2026"]\ntitle = "A', "'Someone 2026': is no BibTeX"),
        ('title = "A', 'url = "codabench.org"\ntitle = "A', "'codabench.org': is no web"),
    ],
)
def test_what_is_wrong_is_named(
    write_task: Callable[..., Task], old: str, new: str, error: str
) -> None:
    errors = errors_of(write_task, (old, new))
    assert any(error in line for line in errors), errors


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("eng = 0.7", "fra = 0.7", "'fra' is not in predict_languages"),
        ("eng = 0.7", "eng = 70.8", "70.8 is no fraction of 1"),
        ("values = { eng = 0.7 }\n", "", "has neither values nor an average"),
        ('source = "T"', 'source = " "', "has no source"),
        ('source = "T"', 'source = "T"\nurl = "T"', "'T': is no web address"),
    ],
)
def test_published_results_need_language_value_and_source(
    write_task: Callable[..., Task], task_text: str, old: str, new: str, error: str
) -> None:
    write_task(text=task_text + BASELINE)
    errors = errors_of(write_task, (old, new), text=task_text + BASELINE)
    assert [error in line for line in errors] == [True]


def test_a_hub_may_only_name_the_tasks_own_languages_and_splits(
    write_task: Callable[..., Task], task_text: str
) -> None:
    hub = '\n[hub]\nrepo = "a/b"\n'
    assert errors_of(write_task, text=f'{task_text}{hub}languages = ["fra"]\n') == [
        "hub: 'fra' is no language of this task. Remove it."
    ]
    (error,) = errors_of(write_task, text=f'{task_text}{hub}splits = {{ valid = "dev" }}\n')
    assert "Input should be 'train', 'dev' or 'test'" in error


def test_labels_must_not_hold_what_separates_them(write_task: Callable[..., Task]) -> None:
    joined = 'label_layout = "joined"\n'
    errors = errors_of(
        write_task,
        ('"fear", "joy"]', '"fear/joy"]'),
        ("[data.files]", f"[data]\n{joined}[data.files]"),
        ("[submission]", f"[submission]\n{joined}"),
        ('rules = "2026"', ""),
    )
    assert [line for line in errors if "separates" in line] == [
        "labels: 'fear/joy' holds '/', which separates in data. Rename it.",
        "labels: 'fear/joy' holds '/', which separates in submission. Rename it.",
    ]


def test_official_rules_need_one_column_per_label(write_task: Callable[..., Task]) -> None:
    errors = errors_of(write_task, ("[submission]", '[submission]\nlabel_layout = "joined"'))
    assert ["choose 'generic'" in line for line in errors] == [True]


def test_a_cross_lingual_task_needs_another_language(write_task: Callable[..., Task]) -> None:
    errors = errors_of(
        write_task,
        ('kind = "multilabel"', 'kind = "multilabel"\ncross_lingual = true'),
        ('train_languages = ["eng", "deu"]', 'train_languages = ["eng"]'),
    )
    assert errors == [
        "train_languages: nothing is left to train on for 'eng'. Add one.",
    ]


def test_the_template_is_a_task_of_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "new" / "next-year.toml"
    write_template(path)
    task = load_task(path)
    assert task.name == "next-year"
    assert task.data.files.train == ("train/{lang}.csv",)
    assert task.submission.member == "pred_{lang}.csv"
    assert f"semeval-kit tasks {path} --check" in path.read_text()


def test_the_template_explains_every_key(tmp_path: Path) -> None:
    write_template(tmp_path / "page.toml")
    page = (tmp_path / "page.toml").read_text()
    explained = set(re.findall(r"^(?:# )?(\w+) = ", page, flags=re.MULTILINE))
    explained |= {
        part
        for line in re.findall(r"^(?:# )?\[+(.+?)\]+", page, re.MULTILINE)
        for part in line.split(".")
    }
    sections, keys = [Task], set()
    while sections:
        section = sections.pop()
        for name, field in section.model_fields.items():
            keys.add({"target_tables": "targets"}.get(name, name))
            kinds = [field.annotation, *getattr(field.annotation, "__args__", [])]
            sections += [k for k in kinds if isinstance(k, type) and issubclass(k, Section)]
    assert keys - explained - {"main_table"} == set()


def test_what_is_known_of_the_shape_stands_in_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    shape = {"kind": "regression", "range": [1, 5], "labels.default": ["Score"], "data.pair": "b"}
    write_template(path, {**shape, "scoring.metrics": ["spearman"]})
    task = load_task(path)
    assert (task.kind, task.range, task.all_labels) == ("regression", (1, 5), ("Score",))
    assert (task.data.pair, task.scoring.metrics) == ("b", ("spearman",))
    assert 'default = ["Score"]\n' in path.read_text()
    with pytest.raises(KitError, match="data.pairs: the template has no such key"):
        write_template(tmp_path / "other.toml", {"data.pairs": "b"})


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ('kind = "regression"', "targets.extra.range: kind 'regression' needs the least"),
        ('kind = "regression"\nrange = [2, 1]', "the first number must be below the second"),
        ('kind = "singlelabel"', "targets.extra.labels: kind 'singlelabel' needs two labels"),
        (
            'kind = "multilabel"\nlabels = ["a"]\nlayout = "name"',
            "targets.extra.layout: 'name' does not fit kind 'multilabel'",
        ),
        ('kind = "multilabel"\nlabels = ["a"]\ncolumns = ["x", "y"]', "as many as there are"),
        ('kind = "multilabel"\nlabels = ["a"]\nfile = "b.csv"', "Set auxiliary = true"),
        (
            'kind = "singlelabel"\nlabels = ["a", "b"]\nvalues = { x = "c" }',
            "targets.extra.values.x: 'c' is no label",
        ),
        (
            'kind = "multilabel"\nlabels = ["a"]\nlayout = "scoped"\nscopes = ["b"]',
            "targets.extra.scopes: 'b' is no label of this target",
        ),
    ],
)
def test_a_target_that_cannot_be_is_named(
    write_task: Callable[..., Task], task_text: str, table: str, error: str
) -> None:
    errors = errors_of(write_task, text=f"{task_text}\n[targets.extra]\n{table}\n")
    assert any(error in line for line in errors), errors


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ('pair = "b"\npair_separator = "x"', "either this or data.pair_separator"),
        ('group_column = "g"\ngroup_pattern = "x"', "either this or data.group_pattern"),
        ('group_pattern = "("', "'data.group_pattern' is '(': is no pattern"),
        ('text = "{a"', "'data.text' is '{a': has a brace without its partner"),
        ('[data.spelling."x.csv"]\nheader = false', "data.spelling: 'x.csv' is no pattern"),
    ],
)
def test_inputs_that_contradict_each_other_are_named(
    write_task: Callable[..., Task], keys: str, error: str
) -> None:
    errors = errors_of(write_task, ("[data.files]", f"[data]\n{keys}\n[data.files]"))
    assert any(error in line for line in errors), errors


def test_rules_between_answers_name_labels_that_are_there(
    write_task: Callable[..., Task], task_text: str
) -> None:
    rules = (
        '\n[rules]\nreversal = { anger = "fear" }\n[[rules.iff]]\n'
        'target = "main"\nlabel = "joy"\nother = "hate"\nother_label = "no"\n'
    )
    assert errors_of(write_task, text=task_text + rules) == [
        "rules.reversal: 'anger' and 'fear' must be labels that turn into each other. Correct "
        "them.",
        "rules.reversal: needs two texts per row. Name data.pair.",
        "rules.iff: 'hate' has no label 'no'. Correct it.",
    ]
