"""The overview picture of `data stats --plot`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semeval_kit.data.examples import Examples
from semeval_kit.data.stats import SplitStats, describe_split
from semeval_kit.errors import KitError
from semeval_kit.show.figures.data import draw_overview, plot_data_stats


@pytest.fixture
def stats() -> list[SplitStats]:
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=np.float64)
    rows = Examples(
        tuple("abcd"), ("one", "two two", "3", "four"), ("eng",) * 4, ("joy", "fear"), labels
    )
    blank = Examples(("e",), ("five",), ("eng",), ("joy", "fear"), np.full((1, 2), np.nan))
    return [describe_split(rows, "eng", "train"), describe_split(blank, "eng", "test")]


def test_bars_and_cells_hold_the_numbers(stats: list[SplitStats]) -> None:
    figure = draw_overview(stats, {"eng: train and test": 3, "eng: train and dev": 0})
    shares, matrix, lengths, overlaps = figure.axes
    assert [bar.get_height() for bar in shares.patches] == [0.5, 0.5]
    assert [text.get_text() for text in matrix.texts] == ["1.00", "0.50", "0.50", "1.00"]
    assert [tick.get_text() for tick in lengths.get_yticklabels()] == ["eng train", "eng test"]
    assert [bar.get_width() for bar in overlaps.patches] == [3]


def test_languages_without_a_label_say_nothing_about_it(stats: list[SplitStats]) -> None:
    labels = np.array([[1, 1, 1], [1, 0, 0]], dtype=np.float64)
    names = ("joy", "fear", "disgust")
    more = Examples(("f", "g"), ("six", "seven"), ("deu",) * 2, names, labels)
    matrix = draw_overview([*stats, describe_split(more, "deu", "train")], {}).axes[1]
    cells = [text.get_text() for text in matrix.texts]
    # Of 2 + 2 rows with joy 1 + 1 have fear; of the 2 that could, 1 has disgust.
    assert cells[:3] == ["1.00", "0.50", "0.50"]


def test_panels_without_content_are_left_out() -> None:
    labels = np.eye(2)
    rows = Examples(("a", "b"), ("one", "two"), ("eng",) * 2, ("joy", "fear"), labels)
    figure = draw_overview([describe_split(rows, "eng", "train")], {"eng: train and test": 0})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["How often a label is above 0", "Text length"]


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("b.svg", b"<?xml")])
def test_the_ending_decides_the_format(
    stats: list[SplitStats], tmp_path: Path, name: str, start: bytes
) -> None:
    path = plot_data_stats(stats, {}, tmp_path / "figures" / name)
    assert path == tmp_path / "figures" / name
    assert path.read_bytes().startswith(start)
    assert plot_data_stats(stats, {}, tmp_path / name).read_bytes() == path.read_bytes()


def test_unknown_ending_and_no_rows_are_errors(stats: list[SplitStats], tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"cannot draw into '\.pdf'; end the name in \.png or \.svg"):
        plot_data_stats(stats, {}, tmp_path / "a.pdf")
    with pytest.raises(KitError, match="no rows to draw"):
        draw_overview([], {})
