"""Nouns that agree with the number before them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import semeval_kit
from semeval_kit.plurals import count_noun


@pytest.mark.parametrize(
    ("count", "forms", "text"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (2, ("row",), "2 rows"),
        (1, ("text occurs", "texts occur"), "1 text occurs"),
        (3, ("text occurs", "texts occur"), "3 texts occur"),
    ],
)
def test_a_noun_agrees_with_its_number(count: int, forms: tuple[str, ...], text: str) -> None:
    assert count_noun(count, *forms) == text


def test_no_module_forms_plurals_on_its_own() -> None:
    """An s after a comparison with 1 is how plurals were made in five places."""
    own = re.compile(r"""['"]s['"] ?\*|['"]s['"] if """)
    folder = Path(semeval_kit.__file__).parent
    files = [file for file in folder.rglob("*.py") if own.search(file.read_text("utf-8"))]
    assert [file.name for file in files] == []
