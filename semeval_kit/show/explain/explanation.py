"""An explanation: one text, what moved its probabilities, and what the run answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semeval_kit.show.explain.attributions import Attribution

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """One text with its attribution and its decision.

    Attributes:
        name: what a person calls the text: its row's id, or its number.
        attribution: pieces and contributions.
        target_names: the C targets, from the task file.
        thresholds: cut points `(C,)`; NaN where there is none.
        answer: the labels that the run gives to the text, as a person reads them.
    """

    name: str
    attribution: Attribution
    target_names: tuple[str, ...]
    thresholds: Floats
    answer: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """What a page or a figure says of where its numbers come from.

    Attributes:
        run: the run's name.
        task: the task's title.
        models: "fold 0" or "the mean of 5 folds".
        method: "shap" or "ig".
        seed: of the explanation.
    """

    run: str
    task: str
    models: str
    method: str
    seed: int


def show_target(name: str) -> str:
    """A target's name for people: `anger>=1` becomes `anger ≥ 1`."""
    return name.replace(">=", " \u2265 ")


def name_file(target: str) -> str:
    """A target's name as part of a file name: letters, digits and dashes only."""
    return re.sub(r"[^\w]+", "-", target.replace(">=", "-ge-")).strip("-").lower() or "target"


def name_files(targets: Sequence[str]) -> tuple[str, ...]:
    """File-name parts of all targets, all different."""
    names = [name_file(target) for target in targets]
    return tuple(
        name if names.count(name) == 1 else f"{name}-{place + 1}"
        for place, name in enumerate(names)
    )


def show_share(value: float, digits: int = 3) -> str:
    """A probability with fixed digits and no minus before a zero."""
    shown = f"{value:.{digits}f}"
    return shown.removeprefix("-") if not float(shown) else shown


def show_signed(value: float, digits: int = 3) -> str:
    """A contribution with fixed digits, its sign and a true minus; zero has none."""
    shown = show_share(value, digits)
    if not float(shown):
        return shown
    return f"+{shown}" if value > 0 else f"\u2212{shown[1:]}"
