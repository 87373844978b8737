from __future__ import annotations

import base64
import io
import re
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.show.figures import charts

# Linear RGB of people without one kind of cone: Machado et al. 2009, severity 1.0.
PROTAN = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]  # fmt: skip # noqa: E501
DEUTAN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]  # fmt: skip # noqa: E501
TRITAN = [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]  # fmt: skip # noqa: E501


def rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def contrast(one: str, other: str) -> float:
    low, high = sorted(charts.relative_luminance(rgb(c)) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.clip(to_xyz @ linear / [0.9505, 1.0, 1.089], 1e-6, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def page_colours(ground: str) -> dict[str, str]:
    """The variables of `colours.css` by name."""
    text = (Path(charts.__file__).parents[1] / "templates" / "colours.css").read_text()
    light, dark = text.split("@media screen")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark if ground == "dark" else light))


def turned(colour: str) -> str:
    """A colour after `invert(1) hue-rotate(180deg)`, as Filter Effects 1 defines them."""
    luma = np.array([0.213, 0.715, 0.072])
    rotation = 2 * np.tile(luma, (3, 1)) - np.eye(3)
    shown = np.clip(rotation @ (1 - np.array(rgb(colour))), 0, 1)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in shown)


@pytest.mark.parametrize("ground", ["light", "dark"])
def test_writing_and_lines_stand_out_from_the_ground(ground):
    page = page_colours(ground)
    look = turned if ground == "dark" else str
    paper = page["paper"]
    assert contrast(look(charts.INK), paper) > 7
    assert contrast(look(charts.FAINT), paper) > 4.5
    for colour in charts.SPLIT_COLOURS.values():
        assert contrast(look(colour), paper) > 3.3
    assert contrast(page["ink"], paper) > 7
    assert contrast(page["faint"], paper) > 4.5
    assert min(contrast(page[name], paper) for name in ("series-0", "series-1")) > 3.3


def test_pages_have_the_palette_s_colours():
    page = page_colours("light")
    names = {"ink": charts.INK, "faint": charts.FAINT, "grid": charts.GRID}
    series = {"series-0": charts.BLUE, "series-1": charts.VERMILION, "paper": charts.PAPER}
    assert {**names, **series}.items() <= page.items()
    assert page_colours("dark").keys() == page.keys()


@pytest.mark.parametrize("ground", ["light", "dark"])
@pytest.mark.parametrize("eyes", [np.eye(3), PROTAN, DEUTAN, TRITAN])
def test_the_first_three_colours_differ_for_all_eyes(ground, eyes):
    look = turned if ground == "dark" else str
    seen = []
    for colour in charts.SERIES[:3]:
        channels = np.array(rgb(look(colour)))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        seen.append(lab(np.clip(np.array(eyes) @ linear, 0, 1)))
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) > 12


def test_the_ramp_falls_in_lightness_and_its_writing_is_readable():
    shades = [charts.ramp()(x) for x in np.linspace(0, 1, 101)]
    luminances = [charts.relative_luminance(s) for s in shades]
    assert all(a > b for a, b in zip(luminances, luminances[1:], strict=False))
    for shade in shades:
        ink = charts.relative_luminance(rgb(charts.writing_on(shade)))
        ground = charts.relative_luminance(shade)
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) > 4.5


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("joy", "joy"),
        ("a label of words", "a label of words"),
        ("optimism_and_hope", "optimism_and_\nhope"),
        ("one two three four five six seven eight", "one two three\nfour five six…"),
        ("x" * 40, "x" * 16 + "\n" + "x" * 15 + "…"),
        ("tab\tand\u202eturn", "tab\N{REPLACEMENT CHARACTER}and\N{REPLACEMENT CHARACTER}turn"),
        ("", ""),
    ],
)
def test_long_names_break_into_two_lines(name, shown):
    assert charts.break_name(name) == shown


def sample():
    figure = charts.new_figure(2.0)
    axes = figure.subplots()
    axes.plot([0, 1, 2.123456], [0, 1, 0.5], color=charts.BLUE)
    axes.set_title('id="x" #0072b2 $a_b$ <b> url(#x)')
    return figure


sample = charts.styled(sample)


def test_svg_is_the_same_bytes_with_words_as_words_and_no_date():
    one, two = (charts.render_svg(sample(), "sample") for _ in range(2))
    assert one == two
    assert "$a_b$ &lt;b&gt;" in one
    assert "<dc:date>" not in one
    assert not re.search(r'\bd="[^"]*\d\.\d{3}', one)
    assert charts.render_svg(sample(), "other") != one


def test_png_is_the_same_bytes_at_200_dots_per_inch():
    from PIL import Image

    one, two = (charts.render_png(sample()) for _ in range(2))
    assert one == two
    image = Image.open(io.BytesIO(one))
    width, height = image.size
    assert abs(width - charts.WIDTH * 200) < 1  # matplotlib 3.10 cuts where 3.11 rounds
    assert height == 400
    assert "Software" not in image.info


def test_an_embedded_picture_is_one_address_without_a_ground():
    image = charts.embed_figure(sample(), "sample")
    assert charts.embed_figure(sample(), "sample") == image
    kind, data = image["src"].split(",")
    assert kind == "data:image/svg+xml;base64"
    svg = base64.b64decode(data).decode()
    assert svg.startswith("<svg")
    assert charts.PAPER not in svg
    assert charts.PAPER in charts.render_svg(sample(), "sample")
    assert (image["width"], image["height"]) == (f"{96 * charts.WIDTH:.0f}", "192")


@pytest.mark.parametrize(
    ("n_panels", "shape"), [(1, (1, 1)), (2, (1, 2)), (5, (3, 2)), (6, (3, 2))]
)
def test_panels_without_content_are_removed(n_panels, shape):
    figure, panels = charts.grid_panels(n_panels)
    assert len(panels) == len(figure.axes) == n_panels
    assert panels[0].get_gridspec().get_geometry() == shape


def test_files_are_written_in_the_formats_asked_for(tmp_path):
    paths = charts.save_figure(sample(), tmp_path / "figures", "sample")
    assert [p.name for p in paths] == ["sample.png", "sample.svg"]
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["sample.png", "sample.svg"]
    with pytest.raises(KitError, match=r"format 'pdf': cannot be drawn; choose from png, svg"):
        charts.save_figure(sample(), tmp_path, "sample", ["pdf"])


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(KitError, match=r"pip install 'semeval-kit\[analysis\]'"):
        sample()
