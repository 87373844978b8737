"""Tables of cells and texts, spelled for files, pages and terminals; and numbers for people."""

from __future__ import annotations

import html
import io
import re
import shutil
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from semeval_kit.files import to_csv

_BREAK = "\x00"
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "`": r"\textasciigrave{}",
        "±": r"\ensuremath{\pm}",
        "−": r"\ensuremath{-}",
        "≥": r"\ensuremath{\geq}",
        "≤": r"\ensuremath{\leq}",
        "Δ": r"\ensuremath{\Delta}",
        "Σ": r"\ensuremath{\Sigma}",
        "×": r"\ensuremath{\times}",
        "→": r"\ensuremath{\rightarrow}",
        _BREAK: r"\allowbreak{}",
    }
)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|!~$])")

# Words beyond ASCII and what a T1 font of pdflatex can set; they go into \nonlatin{...}.
_FOREIGN = (
    r"[^\x00-\u007f\u00a1-\u0125\u0128-\u0137\u0139-\u013e\u0141-\u0148\u014c-\u0165–—‘’“”…€]+"
)
_LONG_WORD = 30
_HASH = re.compile("[0-9a-f]{64}")  # a sha256, which is read and copied as one word


@dataclass(frozen=True)
class Table:
    """Cells as text, in rows.

    Attributes:
        key: a short name without blanks, for references to the table.
        title: what it shows, for a person.
        n_text: how many columns at the left hold words; the others are aligned as numbers.
        widths: share of the line for each column, where texts must wrap; empty: as wide as needed.
        marked: numbers of the rows that stand out.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_text: int = 1
    widths: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    marked: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.key}: a row has {len(row)} cells, not {len(self.columns)}")

    @property
    def group(self) -> str:
        """The first part of the key, which tables of one kind share."""
        return self.key.partition("-")[0]

    def pages(self, n_rows: int = 40) -> list[Table]:
        """This table in pieces of at most `n_rows` rows."""
        starts = range(0, max(len(self.rows), 1), n_rows)
        if len(starts) == 1:
            return [self]
        return [
            replace(
                self,
                key=f"{self.key}-{number}",
                title=f"{self.title} ({number} of {len(starts)})",
                rows=self.rows[start : start + n_rows],
            )
            for number, start in enumerate(starts, start=1)
        ]

    def split(self, width: int) -> list[Table]:
        """This table in parts of at most so many characters; each begins with the first column."""
        needed = [
            3 + max(len(row[place]) for row in (self.columns, *self.rows))
            for place in range(len(self.columns))
        ]
        needed[0] = min(needed[0], 3 + max(12, width // 5))  # names wrap
        if sum(needed) <= width or self.n_text > 1:  # columns of words wrap
            return [self]
        parts: list[list[int]] = [[0]]
        for place in range(1, len(self.columns)):
            if len(parts[-1]) > 1 and sum(needed[at] for at in (*parts[-1], place)) > width:
                parts.append([0])
            parts[-1].append(place)
        return [
            replace(
                self,
                title=self.title if part is parts[0] else f"{self.title} (continued)",
                columns=tuple(self.columns[at] for at in part),
                rows=tuple(tuple(row[at] for at in part) for row in self.rows),
            )
            for part in parts
        ]

    def to_csv(self) -> str:
        """Comma-separated values with a header line; no cell is a formula."""
        return spell_csv(self.columns, self.rows)

    def to_markdown(self) -> str:
        """A pipe table."""
        rule = ["---" if i < self.n_text else "---:" for i in range(len(self.columns))]
        lines = [_pipe([escape_markdown(name) for name in self.columns]), _pipe(rule)]
        lines += [_pipe([escape_markdown(cell) for cell in row]) for row in self.rows]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """A table environment with booktabs rules; what is too wide is scaled to the text width."""
        columns = "l" * self.n_text + "r" * (len(self.columns) - self.n_text)
        if self.widths:
            columns = "".join(
                rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}" for share in self.widths
            )
        body = [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _ampersand(self.columns),
            r"\midrule",
            *(_ampersand(row) for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        if not self.widths:
            body = [r"\begin{adjustbox}{max width=\linewidth}", *body, r"\end{adjustbox}"]
        notes = [rf"\par\smallskip\footnotesize {escape_latex(note)}" for note in self.notes]
        return "\n".join(
            [
                r"\begin{table}[htbp]",
                r"\centering\small",
                rf"\caption{{{escape_latex(self.title)}}}",
                rf"\label{{tab:{self.key}}}",
                *body,
                *notes,
                r"\end{table}",
                "",
            ]
        )

    def to_html(self) -> str:
        """A section with the table in a frame that scrolls; report.css dresses it."""
        identifier = f"table-{html.escape(self.key)}"
        head = "".join(
            f'<th scope="col"{self._html_class(place)}>{html.escape(name)}</th>'
            for place, name in enumerate(self.columns)
        )
        lines = [
            f'<section>\n<h3 id="{identifier}">{html.escape(self.title)}</h3>',
            f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{identifier}">',
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>",
            *(self._html_row(number) for number in range(len(self.rows))),
            "</tbody>\n</table>\n</div>",
            *(f'<p class="notes">{html.escape(note)}</p>' for note in self.notes),
            "</section>",
        ]
        return "\n".join(lines)

    _repr_html_ = __html__ = to_html

    def _html_row(self, number: int) -> str:
        first, *others = self.rows[number]
        cells = "".join(
            f"<td{self._html_class(place, cell)}>{html.escape(cell)}</td>"
            for place, cell in enumerate(others, start=1)
        )
        mark = ' class="own"' if number in self.marked else ""
        return f'<tr{mark}><th scope="row" class="word">{html.escape(first)}</th>{cells}</tr>'

    def _html_class(self, place: int, cell: str = "") -> str:
        if _HASH.fullmatch(cell):
            return ' class="hash"'
        return ' class="word"' if place < self.n_text else ""


def draw_tables(
    tables: Sequence[Table], notes: Sequence[str] = (), width: int | None = None
) -> str:
    """The tables as text, the notes below them."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    width = width or min(shutil.get_terminal_size((100, 24)).columns, 120)
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, highlight=False)
    for table in (part for whole in tables for part in whole.split(width)):
        drawn = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD)
        for place, column in enumerate(table.columns):
            left = place < table.n_text
            drawn.add_column(
                Text(column), justify="left" if left else "right", overflow="fold", no_wrap=not left
            )
        for row in table.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)
        console.print()
    for note in notes:
        console.print(Text(f"- {note}"))
    return buffer.getvalue().rstrip("\n")


def show_number(value: float | None, digits: int = 4) -> str:
    """A number with fixed digits and a true minus sign of ASCII; nothing for None and NaN."""
    if value is None or value != value:
        return ""
    return f"{value:.{digits}f}"


def show_interval(interval: Sequence[float | None] | None, digits: int = 4) -> str:
    """An interval `(low, high)` as `[low, high]`, or nothing."""
    low, high = interval or (None, None)
    if low is None or high is None or low != low or high != high:
        return ""
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def show_reading(reading: Mapping[str, Any]) -> str:
    """A score with its interval, as estimates keep them; nothing for an empty one."""
    if not reading:
        return ""
    interval = show_interval((reading["low"], reading["high"]))
    return f"{show_number(reading['score'])} {interval}"


def show_p(p_value: float) -> str:
    """A p-value with three digits; `<0.001` for smaller ones."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def show_spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean ± sample standard deviation; the mean alone for a single value."""
    if not len(values):
        return ""
    mean = float(np.mean(values))
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {float(np.std(values, ddof=1)):.{digits}f}"


def show_seconds(seconds: float | None) -> str:
    """Seconds as `45 s`, `12 min 3 s` or `3 h 5 min`."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def show_count(count: float | None) -> str:
    """A large number of things as 22.7M or 4.4k."""
    if count is None:
        return ""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(int(count))


class Latex(str):
    """Text that is LaTeX already and is not escaped again."""

    __slots__ = ()


class Markdown(str):
    """Text that is Markdown already and is not escaped again."""

    __slots__ = ()


def show_controls(text: str) -> str:
    """Name characters that change how their neighbours are shown, such as U+202E; fold blanks."""
    spaced = re.sub(r"\s+", " ", text).strip()
    return "".join(
        f"[U+{ord(char):04X}]" if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co"} else char
        for char in spaced
    )


def shorten(text: str, length: int) -> str:
    """The first `length` characters, with an ellipsis where something was cut."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def escape_latex(text: str) -> Latex:
    r"""Escape a text for LaTeX.

    Runs of characters that pdflatex has no font for are wrapped in `\nonlatin{...}`, which the
    document defines: xelatex and lualatex print them, pdflatex prints a mark. Words of more than
    30 characters may be broken.
    """
    if isinstance(text, Latex):
        return text
    breakable = re.sub(rf"(\S{{{_LONG_WORD}}})(?=\S)", rf"\1{_BREAK}", show_controls(text))
    escaped = breakable.translate(_LATEX)
    # A row or cell that starts with [ would be read as an argument of the line break before it.
    escaped = f"{{[}}{escaped[1:]}" if escaped.startswith("[") else escaped
    return Latex(re.sub(f"{_FOREIGN}(?: {_FOREIGN})*", r"\\nonlatin{\g<0>}", escaped))


def escape_markdown(text: str) -> Markdown:
    """Escape a text so that Markdown, also inside a table, shows it as it is."""
    if isinstance(text, Markdown):
        return text
    shown = show_controls(text)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _MARKDOWN.sub(r"\\\1", shown)
    # Bare addresses become links in many renderers.
    return Markdown(shown.replace("://", ":&#47;&#47;"))


def spell_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV for people, who open it in spreadsheets: no cell is a formula; None is blank."""
    return to_csv(
        [escape_cell(name) for name in columns],
        [["" if cell is None else escape_cell(str(cell)) for cell in row] for row in rows],
    )


def escape_cell(text: str) -> str:
    """Keep a spreadsheet from reading a CSV cell as a formula."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
    return text


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _ampersand(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
