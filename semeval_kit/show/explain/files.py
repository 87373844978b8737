"""What `explain` leaves in a run: the page, the pictures of each sentence, the global view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from semeval_kit.errors import KitError
from semeval_kit.run.directory import remove_tree, write_atomic
from semeval_kit.show.explain.attributions import Attribution
from semeval_kit.show.explain.explanation import Explanation, Heading, name_files
from semeval_kit.show.explain.figures import draw_effects, draw_sentence, save_text_figure
from semeval_kit.show.explain.page import render_page
from semeval_kit.show.explain.token_effects import sum_effects, write_effects

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def write_sentences(
    folder: Path,
    name: str,
    explanations: Sequence[Explanation],
    heading: Heading,
    *,
    figures: bool = True,
    on_figure: Callable[[], None] | None = None,
) -> list[Path]:
    """Write `<name>.html` and, in the folder `<name>`, a figure per text and target.

    What an earlier call left under the same name is replaced.

    Args:
        folder: the run's folder of explanations.
        name: letters, digits, `.`, `_` and `-`.
        explanations: at least one.
        heading: where the numbers come from.
        figures: draw them, as PNG and SVG.
        on_figure: is told after each figure.

    Returns:
        The page and, if there are figures, their folder.

    Raises:
        KitError: the name is not one, or a library is missing.
    """
    check_name(name)
    page, pictures = folder / f"{name}.html", folder / name
    remove_tree(pictures)
    write_atomic(page, render_page(explanations, heading))
    if not figures:
        return [page]
    for number, explanation in enumerate(explanations, start=1):
        for target, part in enumerate(name_files(explanation.target_names)):
            figure = draw_sentence(explanation, target)
            save_text_figure(figure, pictures, f"text-{number}_{part}")
            if on_figure is not None:
                on_figure()
    return [page, pictures]


def write_global(
    folder: Path,
    name: str,
    attributions: Iterable[Attribution],
    target_names: Sequence[str],
    heading: Heading,
) -> list[Path]:
    """Write `<name>.csv`, `<name>.png` and `<name>.svg`: the tokens that push each label most.

    Raises:
        KitError: the name is not one, or matplotlib is missing.
    """
    check_name(name)
    effects = sum_effects(attributions, len(target_names))
    table = folder / f"{name}.csv"
    write_atomic(table, write_effects(effects, target_names))
    return [table, *save_text_figure(draw_effects(effects, target_names, heading), folder, name)]


def check_name(name: str) -> None:
    """Refuse names that would lead out of the folder.

    Raises:
        KitError: naming it.
    """
    if not _NAME.fullmatch(name):
        raise KitError(
            f"name '{name}': cannot be a file name here. "
            "Use up to 100 letters, digits, dots, dashes and underscores, a letter or digit first."
        )
