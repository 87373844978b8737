"""Numbers with a noun behind them, as sentences have them."""

from __future__ import annotations


def count_noun(count: int, noun: str, plural: str = "") -> str:
    """The number with the noun in the right form: "1 row", "0 rows", "2 texts occur".

    Args:
        count: how many.
        noun: the form for one; a verb that agrees with it may follow.
        plural: the form for any other number; empty: the noun with an s.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"
