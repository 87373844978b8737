"""Drafts of card and paper: facts of a run put into templates, as Markdown or LaTeX.

What is not markup already is escaped. The text of both papers stands once, in paper.j2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.show.results import RunResults
from semeval_kit.show.tables_of_scores import describe_use
from semeval_kit.show.tables_of_training import show_field
from semeval_kit.show.tabulate import (
    Latex,
    Markdown,
    Table,
    escape_latex,
    escape_markdown,
    show_count,
    show_seconds,
)
from semeval_kit.show.wording import name_encoder

Tables = dict[str, list[Table]]

# LaTeX is full of braces, so templates use brackets that neither it nor Markdown has.
_DELIMITERS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def load_jinja() -> Any:
    """The library that fills templates.

    Raises:
        KitError: it is missing.
    """
    try:
        import jinja2
    except ImportError as error:
        raise KitError(
            "Reports, papers and cards need jinja2. Install it with: "
            "pip install 'semeval-kit[analysis]'"
        ) from error
    return jinja2


def read_template(name: str) -> str:
    """A file of this package's templates."""
    file = resources.files("semeval_kit.show").joinpath("templates", name)
    return file.read_text(encoding="utf-8")


def fill_template(
    name: str, facts: Mapping[str, Any], tables: Tables, latex: bool = False
) -> Markdown | Latex:
    """Fill a template of this package.

    Args:
        name: of the file under templates/.
        facts: values by name; text is escaped unless it is `Latex` or `Markdown`.
        tables: groups of tables by name, given to the template as `tables`.
        latex: LaTeX instead of Markdown.

    Raises:
        KitError: jinja2 is missing.
    """
    jinja2 = load_jinja()
    markup: type[Latex] | type[Markdown] = Latex if latex else Markdown
    escape: Callable[[str], str] = escape_latex if latex else escape_markdown
    environment = jinja2.Environment(
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, markup) else escape(str(value)),
        **_DELIMITERS,
    )
    environment.globals.update(_LATEX if latex else _MARKDOWN)
    drawn = {
        group: markup("\n".join(_draw(table, latex) for table in members))
        for group, members in tables.items()
    }
    text: str = environment.from_string(read_template(name)).render(**facts, tables=drawn)
    return markup(text)


def collect_facts(run: Run, results: RunResults) -> dict[str, Any]:
    """What card and paper say of a run in words."""
    return {
        "name": run.name,
        "task": results.task,
        "labels": results.task.all_labels,
        "languages": ", ".join(run.languages),
        "train_languages": ", ".join(run.settings["train_languages"]),
        "train_splits": " + ".join(run.learnt_splits),
        "n_train": run.n_learnt_rows,
        "n_held_out": run.n_held_out_rows,
        "use_of_dev": describe_use(results, "dev"),
        "encoder": name_encoder(results.encoder),
        "recipe": {field: show_field(results, field) for field in results.recipe},
        "n_models": run.n_models,
        "per": "fold" if run.n_models == run.n_folds else "fold and seed",
        "scheme": run.scheme,
        "member": results.member,
        "members": list(run.settings.get("members", ())),
        "tuned": results.wording.tuned,
        "parameters": show_count(results.parameters),
        "seconds": show_seconds(results.seconds),
        "notes": results.estimate.get("notes", ()),
    }


def _draw(table: Table, latex: bool) -> str:
    if latex:
        return table.to_latex()
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in table.notes)
    return f"**{escape_markdown(table.title)}**\n\n{table.to_markdown()}{notes}"


def _cite_latex(keys: Sequence[str]) -> Latex:
    return Latex(rf"~\cite{{{','.join(keys)}}}" if keys else "")


def _cite_markdown(keys: Sequence[str]) -> Markdown:
    return Markdown(f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else "")


def _list_latex(sentences: Sequence[str]) -> Latex:
    items = "\n".join(rf"\item {escape_latex(sentence)}" for sentence in sentences)
    return Latex(f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}" if sentences else "")


def _list_markdown(sentences: Sequence[str]) -> Markdown:
    return Markdown("\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences))


_LATEX: dict[str, Any] = {
    "cite": _cite_latex,
    "bullets": _list_latex,
    "heading": lambda text: Latex(rf"\section{{{escape_latex(text)}}}"),
    "todo": lambda text: Latex(rf"\todo{{{escape_latex(text)}}}"),
}
_MARKDOWN: dict[str, Any] = {
    "cite": _cite_markdown,
    "bullets": _list_markdown,
    "heading": lambda text: Markdown(f"## {escape_markdown(text)}\n"),
    "todo": lambda text: Markdown(f"**TODO: {escape_markdown(text)}**"),
}
