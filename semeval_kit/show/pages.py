"""Templates of this package, filled: whole pages of HTML, papers and cards."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from semeval_kit.errors import import_extra
from semeval_kit.plurals import count_noun
from semeval_kit.show.tabulate import Latex, Markdown, Table, escape_latex, escape_markdown

# LaTeX is full of braces, so templates use brackets that neither it nor Markdown has.
_DELIMITERS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def fill_page(template: str, style: str, script: str = "", /, **facts: Any) -> str:
    """A page of HTML that loads nothing from elsewhere; what has `__html__` is not escaped again.

    The template is named without its endings, the style stands behind the colours. The page's
    policy names the hashes of style and script, so nothing else may run.

    Raises:
        KitError: jinja2 is missing.
    """
    jinja2, environment = _load_jinja(autoescape=True)
    parts = {"style": read_template("colours.css") + read_template(style)}
    if script:
        parts["script"] = read_template(script)
    for part, text in parts.items():
        digest = hashlib.sha256(text.encode("utf-8")).digest()
        facts[part] = jinja2.utils.markupsafe.Markup(text)
        facts[f"{part}_hash"] = f"sha256-{base64.b64encode(digest).decode('ascii')}"
    page: str = environment.from_string(read_template(f"{template}.html.j2")).render(**facts)
    return page


def read_template(name: str) -> str:
    """A file of this package's templates."""
    file = resources.files("semeval_kit.show").joinpath("templates", name)
    return file.read_text(encoding="utf-8")


def fill_template(
    name: str, facts: Mapping[str, Any], tables: Mapping[str, Sequence[Table]], latex: bool = False
) -> Markdown | Latex:
    """Fill a template of this package.

    Text among the facts is escaped unless it is `Latex` or `Markdown`; the groups of tables are
    given to it as `tables`.

    Raises:
        KitError: jinja2 is missing.
    """
    markup: type[Latex] | type[Markdown] = Latex if latex else Markdown
    escape: Callable[[str], str] = escape_latex if latex else escape_markdown
    _, environment = _load_jinja(
        finalize=lambda value: value if isinstance(value, markup) else escape(str(value)),
        **_DELIMITERS,
    )
    environment.globals.update(_LATEX if latex else _MARKDOWN, count_noun=count_noun)
    drawn = {
        group: markup("\n".join(_draw(table, latex) for table in members))
        for group, members in tables.items()
    }
    text: str = environment.from_string(read_template(name)).render(**facts, tables=drawn)
    return markup(text)


def group_tables(tables: Iterable[Table]) -> dict[str, list[Table]]:
    """Tables that have rows by what they are about; a group may be empty."""
    groups: dict[str, list[Table]] = {}
    for table in tables:
        groups.setdefault(table.group, []).extend([table] if table.rows else [])
    return groups


def _load_jinja(**options: Any) -> tuple[Any, Any]:
    """The library, and its environment; options beside those of every template."""
    jinja2 = import_extra("jinja2", "analysis", "Reports, papers and cards need")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    return jinja2, environment


def _draw(table: Table, latex: bool) -> str:
    if latex:
        return table.to_latex()
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in table.notes)
    return f"**{escape_markdown(table.title)}**\n\n{table.to_markdown()}{notes}"


def _list_latex(sentences: Sequence[str]) -> Latex:
    items = "\n".join(rf"\item {escape_latex(sentence)}" for sentence in sentences)
    return Latex(f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}" if sentences else "")


_LATEX: dict[str, Any] = {
    "cite": lambda keys: Latex(rf"~\cite{{{','.join(keys)}}}" if keys else ""),
    "bullets": _list_latex,
    "heading": lambda text: Latex(rf"\section{{{escape_latex(text)}}}"),
    "todo": lambda text: Latex(rf"\todo{{{escape_latex(text)}}}"),
}
_MARKDOWN: dict[str, Any] = {
    "cite": lambda keys: Markdown(f" [{'; '.join(f'@{key}' for key in keys)}]" if keys else ""),
    "bullets": lambda lines: Markdown("\n".join(f"- {escape_markdown(line)}" for line in lines)),
    "heading": lambda text: Markdown(f"## {escape_markdown(text)}\n"),
    "todo": lambda text: Markdown(f"**TODO: {escape_markdown(text)}**"),
}
