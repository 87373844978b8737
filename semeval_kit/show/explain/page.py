"""The explanation page: texts coloured by what moves each label, in one self-contained file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.show.explain.attributions import Attribution
from semeval_kit.show.pages import fill_page

METHOD_NAMES = {"shap": "SHAP (Owen values)", "ig": "integrated gradients"}
# Above this the sum of the contributions is visibly off.
_VISIBLE_GAP = 0.0005


@dataclass(frozen=True)
class Explanation:
    """One text with its attribution and its decision.

    Attributes:
        name: what a person calls the text: its row's id, or its number.
        answer: the labels that the run gives to the text, as a person reads them.
    """

    name: str
    attribution: Attribution
    target_names: tuple[str, ...]
    thresholds: FloatArray
    answer: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """What a page or a figure says of where its numbers come from.

    Attributes:
        models: "fold 0" or "the mean of 5 folds".
        method: "shap" or "ig".
        mask: the token that stands for every token of the base, such as `[MASK]`.
    """

    run: str
    task: str
    models: str
    method: str
    seed: int
    mask: str


def render_page(explanations: Sequence[Explanation], heading: Heading) -> str:
    """Render texts and their attributions as HTML that loads nothing and can be mailed.

    Raises:
        KitError: jinja2 is not installed.
    """
    targets = explanations[0].target_names if explanations else ()
    return fill_page(
        "explain",
        "explain.css",
        "explain.js",
        heading=heading,
        method=METHOD_NAMES.get(heading.method, heading.method),
        targets=[show_target(name) for name in targets],
        # The most probable target of the first text.
        chosen=int(explanations[0].attribution.probs.argmax()) if explanations else 0,
        has_thresholds=any(not np.isnan(e.thresholds).all() for e in explanations),
        texts=[_describe(explanation) for explanation in explanations],
    )


def show_target(name: str) -> str:
    """A target's name for people: `anger>=1` becomes `anger ≥ 1`."""
    return name.replace(">=", " \u2265 ")


def name_files(targets: Sequence[str]) -> tuple[str, ...]:
    """Targets as parts of file names: letters, digits and dashes only, all different."""
    names = [
        re.sub(r"[^\w]+", "-", target.replace(">=", "-ge-")).strip("-").lower() or "target"
        for target in targets
    ]
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


def _describe(explanation: Explanation) -> dict[str, Any]:
    attribution = explanation.attribution
    return {
        "name": _printable(explanation.name),
        "answer": ", ".join(show_target(label) for label in explanation.answer),
        "pieces": [
            {
                "text": _printable(piece),
                "numbers": " ".join(_plain(value) for value in values),
                "shown": [show_signed(value) for value in values],
            }
            for piece, values in zip(attribution.pieces, attribution.values, strict=True)
        ],
        "n_tokens": attribution.n_tokens,
        "rest": _printable(attribution.rest) if attribution.rest.strip() else "",
        "rows": [_describe_target(explanation, c) for c in range(len(explanation.target_names))],
        "gap": _describe_gap(explanation),
    }


def _describe_target(explanation: Explanation, target: int) -> dict[str, str]:
    attribution, threshold = explanation.attribution, explanation.thresholds[target]
    sign = "\u2265" if attribution.probs[target] >= threshold else "<"
    return {
        "label": show_target(explanation.target_names[target]),
        "base": show_share(attribution.base[target]),
        "prob": show_share(attribution.probs[target]),
        "threshold": "\u2013" if np.isnan(threshold) else f"{sign} {show_share(threshold)}",
    }


def _describe_gap(explanation: Explanation) -> str:
    worst = float(np.abs(explanation.attribution.gaps).max(initial=0.0))
    if worst < _VISIBLE_GAP:
        return ""
    return (
        f"The contributions miss the probability by up to {show_share(worst)} "
        "(error of the numerical integration; a larger --max-evals makes it smaller)."
    )


def _plain(value: float) -> str:
    shown = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def _printable(text: str) -> str:
    """Replace by a mark what HTML forbids or what turns its neighbours around."""
    return "".join("\ufffd" if _is_control(sign) else sign for sign in text.replace("\r\n", "\n"))


def _is_control(sign: str) -> bool:
    if unicodedata.category(sign) in {"Cc", "Cs"}:
        return sign not in "\n\t"
    return "\u202a" <= sign <= "\u202e" or "\u2066" <= sign <= "\u2069"
