"""Tables as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semeval_kit.show.tables import Table

_WIDTH = 100


def draw_tables(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The tables as text of at most 100 columns, the notes below them."""
    import io

    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=io.StringIO(), width=_WIDTH, highlight=False)
    for table in tables:
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
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.rstrip("\n")
