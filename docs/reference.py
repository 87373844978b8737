"""Write the reference pages of these docs from the code, so that they cannot be wrong.

Run `make reference` after a change of the task file's schema, of a recipe's fields or of a command;
a test compares the pages with what this would write.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from semeval_kit.cli import main
from semeval_kit.task import schema
from semeval_kit.task.metric_facts import METRIC_FACTS
from semeval_kit.task.task import Task, list_tasks, load_task
from semeval_kit.training.recipe import Recipe

FOLDER = Path(__file__).parent
_HEAD = "<!-- Written by docs/reference.py (make reference): change the code, not this page. -->\n"
_WORDS = {str: "text", int: "number", float: "number", bool: "true or false"}


def render_pages() -> dict[str, str]:
    """The pages by file name."""
    return {
        "task-file.md": _render_task_file(),
        "recipe-fields.md": _render_recipe_fields(),
        "commands.md": _render_commands(),
        "metrics.md": _render_metrics(),
    }


def _render_task_file() -> str:
    lines = [
        _HEAD,
        "# Task file: every key",
        "",
        "A task is a TOML file. [Tasks](tasks.md) says how to write one; "
        "`semeval-kit tasks new FILE` begins one, `semeval-kit tasks FILE --check` reads it. "
        "Unknown keys are errors.",
        "",
        "## At the top",
        "",
        *_tabulate_fields(Task, skip={"main_table"}),
    ]
    for section, model in _list_sections():
        lines += ["", f"## `{section}`", "", _first_line(model), "", *_tabulate_fields(model)]
    tasks = [load_task(name) for name in list_tasks()]
    rows = [
        (f"`{task.name}`", task.title, task.kind, f"`{task.scoring.metrics[0]}`") for task in tasks
    ]
    lines += [
        "",
        "## Task files that come with the kit",
        "",
        "If a fact was not to be found, the file says so and leaves it to you.",
        "",
        *_tabulate(("name", "what it is", "kind", "ranked by"), rows),
    ]
    return "\n".join(lines) + "\n"


def _list_sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "[labels]", schema.Labels
    yield "[targets.NAME]", schema.TargetTable
    yield "[data]", schema.Data
    yield "[data.files]", schema.Files
    yield '[data.spelling."PATTERN"]', schema.Spelling
    yield "[submission]", schema.Submission
    yield "[scoring]", schema.Scoring
    yield "[rules]", schema.AnswerRules
    yield "[[rules.iff]]", schema.Iff
    yield "[[baselines]]", schema.Baseline
    yield "[hub]", schema.Hub


def _render_recipe_fields() -> str:
    rows = [
        (f"`{name}`", _describe_type(field), _describe_default(field), field.description or "")
        for name, field in Recipe.model_fields.items()
    ]
    return "\n".join(
        [
            _HEAD,
            "# Recipe: every field",
            "",
            "A recipe is a TOML file of these fields; each is also a flag of `run` "
            "(`--batch-size 32`), and `encoder` is `--model`. "
            "[Training](training.md) says which of them matter.",
            "",
            *_tabulate(("field", "type", "default", "what it does"), rows),
            "",
        ]
    )


_NEEDS = {
    "probs": "probabilities, which a zip does not hold",
    "spread": "`scoring.spread_column`",
    "reverse": "`rules.reversal`, in gold files `scoring.reverse_column`",
    "groups": "`data.group_column`",
}


def _render_metrics() -> str:
    rows = []
    for name, facts in METRIC_FACTS.items():
        highest = "∞" if facts.highest is None else f"{facts.highest:g}"
        rows.append(
            (
                f"`{name}`",
                facts.about,
                f"{facts.lowest:g} to {highest}",
                "low" if facts.low_is_better else "high",
                ", ".join(facts.kinds),
                _NEEDS.get(facts.needs, ""),
                facts.source,
            )
        )
    titles = ("metric", "what it measures", "range", "better", "kinds", "needs", "source")
    return "\n".join(
        [
            _HEAD,
            "# Metrics: every name",
            "",
            "What `scoring.metrics` of a [task file](task-file.md) may name; the first one ranks. "
            "A score is the mean over languages. A cell that is not annotated is neither right nor "
            "wrong.",
            "",
            *_tabulate(titles, rows),
            "",
        ]
    )


def _render_commands() -> str:
    lines = [
        _HEAD,
        "# Commands: every option",
        "",
        "The same as `semeval-kit COMMAND --help`. Results go to standard output, progress to "
        "standard error.",
    ]
    context = click.Context(main, info_name="semeval-kit")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        lines += _describe_command(command, f"semeval-kit {name}", 2)
    return "\n".join(lines) + "\n"


def _describe_command(command: click.Command, name: str, level: int) -> list[str]:
    context = click.Context(command, info_name=name)
    # Paragraphs of a help text are filled anew; those after \b are laid out by hand.
    text = inspect.cleandoc(command.help or "").replace("\f", "\n")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
    usage = " ".join([name, *arguments])
    lines = ["", f"{'#' * level} `{usage}`", "", *"\n\n".join(map(_escape, paragraphs)).split("\n")]
    rows = [
        (f"`{', '.join(option.opts + option.secondary_opts)}`", *_describe_option(option, context))
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    if rows:
        lines += ["", *_tabulate(("option", "value", "what it does"), rows)]
    if isinstance(command, click.Group):
        for part in command.list_commands(context):
            inner = command.get_command(context, part)
            if inner is not None:
                lines += _describe_command(inner, f"{name} {part}", level + 1)
    return lines


def _describe_option(option: click.Option, context: click.Context) -> tuple[str, str]:
    value = "" if option.is_flag else option.make_metavar(context).strip("[]").replace("|", ", ")
    shown = option.get_help_extra(context)
    extra = [f"default: {shown['default']}"] if "default" in shown else []
    text = f"{option.help or ''} {' '.join(f'({part})' for part in extra)}".strip()
    return f"`{value}`" if value else "", text


def _tabulate_fields(
    model: type[BaseModel], skip: frozenset[str] | set[str] = frozenset()
) -> list[str]:
    notes = _read_notes(model)
    rows = [
        (
            f"`{_name_key(name, field)}`",
            _describe_type(field),
            _describe_default(field),
            notes.get(name, ""),
        )
        for name, field in model.model_fields.items()
        if name not in skip
    ]
    return _tabulate(("key", "value", "default", "what it says"), rows)


def _name_key(name: str, field: FieldInfo) -> str:
    """The key as people write it: the first alias, where there are some."""
    choices = getattr(field.validation_alias, "choices", None)
    return str(choices[0]) if choices else name


def _read_notes(model: type[BaseModel]) -> dict[str, str]:
    """The strings below the fields of a class, which Python itself forgets."""
    body = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(body, ast.ClassDef)
    notes = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=note)):
                notes[name] = " ".join(str(note).split())
    return notes


def _describe_type(field: FieldInfo) -> str:
    return _name_type(field.annotation)


def _name_type(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _name_type(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{choice or chr(34) * 2}`" for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_name_type(part) for part in arguments if part is not type(None))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"list of {_name_type(arguments[0])}"
        return f"[{', '.join(_name_type(part) for part in arguments)}]"
    if origin is dict:
        return f"table of {_name_type(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    return getattr(kind, "__name__", str(kind))


def _describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    default = field.get_default(call_default_factory=True)
    if default is None or isinstance(default, BaseModel) or default in ((), {}, ""):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{list(default) if isinstance(default, tuple) else default!r}`".replace("'", '"')


def _first_line(model: type[BaseModel]) -> str:
    return _escape(inspect.getdoc(model) or "").split("\n")[0]


def _tabulate(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return [f"| {' | '.join(_fit_cell(cell) for cell in line)} |" for line in lines]


def _fit_cell(cell: str) -> str:
    return re.sub(r"\s+", " ", cell).replace("|", "\\|")


def _escape(text: str) -> str:
    """Angle brackets are shown, not read as HTML."""
    return text.replace("<", "&lt;")


if __name__ == "__main__":
    for name, page in render_pages().items():
        (FOLDER / name).write_text(page, encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
