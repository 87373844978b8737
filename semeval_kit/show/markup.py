"""Text of other people made safe for LaTeX, Markdown and CSV."""

from __future__ import annotations

import re
import unicodedata

_LATEX = {
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
    "\u00a0": "~",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|!~$])")
# What a T1 font of pdflatex can set beyond ASCII; the rest goes into \nonlatin{...}.
_SETTABLE = re.compile(
    r"[\u00a1-\u0125\u0128-\u0137\u0139-\u013e\u0141-\u0148\u014c-\u0165–—‘’“”…€]"
)
_LONG_WORD = 30


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
    parts: list[str] = []
    foreign = ""
    for place, char in enumerate(_mark_breaks(show_controls(text))):
        if char == _BREAK or char in _LATEX or char.isascii() or _SETTABLE.match(char):
            if foreign and char == " ":
                foreign += char
                continue
            parts += [_wrap_foreign(foreign), _escape_char(char, place)]
            foreign = ""
        else:
            foreign += char
    parts.append(_wrap_foreign(foreign))
    return Latex("".join(parts))


def escape_markdown(text: str) -> Markdown:
    """Escape a text so that Markdown, also inside a table, shows it as it is."""
    if isinstance(text, Markdown):
        return text
    shown = show_controls(text)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _MARKDOWN.sub(r"\\\1", shown)
    # Bare addresses become links in many renderers.
    return Markdown(shown.replace("://", ":&#47;&#47;"))


def escape_cell(text: str) -> str:
    """Keep a spreadsheet from reading a CSV cell as a formula."""
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
    return text


_BREAK = "\x00"


def _mark_breaks(text: str) -> str:
    return re.sub(rf"(\S{{{_LONG_WORD}}})(?=\S)", rf"\1{_BREAK}", text)


def _escape_char(char: str, place: int) -> str:
    if char == _BREAK:
        return r"\allowbreak{}"
    # A row or cell that starts with [ would be read as an argument of the line break before it.
    if char == "[" and place == 0:
        return "{[}"
    return _LATEX.get(char, char)


def _wrap_foreign(run: str) -> str:
    if not run:
        return ""
    kept = run.rstrip(" ")
    return rf"\nonlatin{{{kept}}}" + " " * (len(run) - len(kept))
