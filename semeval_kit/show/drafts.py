"""Templates filled for Markdown and LaTeX: what is not markup already is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from semeval_kit.errors import KitError
from semeval_kit.show.markup import Latex, Markdown, escape_latex, escape_markdown
from semeval_kit.show.tables import Table

Tables = dict[str, list[Table]]

# LaTeX is full of braces, so its templates use brackets that it never has.
_LATEX_DELIMITERS: dict[str, Any] = {
    "block_start_string": "((*",
    "block_end_string": "*))",
    "variable_start_string": "(((",
    "variable_end_string": ")))",
    "comment_start_string": "((=",
    "comment_end_string": "=))",
}


def fill_template(name: str, facts: Mapping[str, Any], tables: Tables) -> str:
    """Fill a template of this package: `*.tex.j2` as LaTeX, all others as Markdown.

    Args:
        name: of the file under templates/.
        facts: values by name; text is escaped unless it is `Latex` or `Markdown`.
        tables: groups of tables by name, given to the template as `tables`.

    Raises:
        KitError: jinja2 is missing.
    """
    try:
        import jinja2
    except ImportError as error:
        raise KitError(
            "Papers and cards need jinja2. Install it with: pip install 'semeval-kit[analysis]'"
        ) from error
    latex = name.endswith(".tex.j2")
    markup: type[Latex] | type[Markdown] = Latex if latex else Markdown
    escape: Callable[[str], str] = escape_latex if latex else escape_markdown
    environment = jinja2.Environment(
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, markup) else escape(str(value)),
        **(_LATEX_DELIMITERS if latex else {}),
    )
    environment.filters["cite"] = _cite_latex if latex else _cite_markdown
    drawn = {
        group: markup("\n".join(_draw(table, latex) for table in members))
        for group, members in tables.items()
    }
    source = resources.files("semeval_kit.show").joinpath("templates", name)
    text = environment.from_string(source.read_text(encoding="utf-8"))
    return text.render(**facts, tables=drawn)


def _draw(table: Table, latex: bool) -> str:
    if latex:
        return table.to_latex()
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in table.notes)
    return f"**{escape_markdown(table.title)}**\n\n{table.to_markdown()}{notes}"


def _cite_latex(keys: Sequence[str]) -> Latex:
    return Latex(rf"~\cite{{{','.join(keys)}}}" if keys else "")


def _cite_markdown(keys: Sequence[str]) -> Markdown:
    return Markdown(f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else "")
