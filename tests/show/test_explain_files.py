from __future__ import annotations

import csv
import hashlib
import io
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semeval_kit.errors import KitError
from semeval_kit.show.explain.attributions import Attribution
from semeval_kit.show.explain.files import (
    draw_effects,
    draw_sentence,
    name_tokens,
    sum_effects,
    write_effects,
    write_global,
    write_sentences,
)
from semeval_kit.show.explain.page import (
    Explanation,
    Heading,
    name_files,
    render_page,
    show_share,
    show_signed,
    show_target,
)

pytestmark = pytest.mark.slow

pytest.importorskip("matplotlib")

LABELS = ("anger", "fear", "joy")
HEADING = Heading("my-run", 'A <b>task</b> & "more"', "the mean of 2 folds", "shap", 3, "<mask>")
HOSTILE = (
    "<img src=x onerror=alert(1)> and </script><script>alert(2)</script>",
    "=1+1",
    '=HYPERLINK("http://localhost:9/x","click")',
    "{{ 7 * 7 }} {% raw %} <!-- </style>",
    "\u202eright to left\u202c \x00\x07 \u0645\u0631\u062d\u0628\u0627",
    "wordwithoutanyblank" * 20,
    "two\nlines, and a \"quote\" & 'more'",
)


def make_attribution(text: str, seed: int = 0, rest: str = "") -> Attribution:
    """Pieces are the words with the blanks after them."""
    pieces = tuple(re.findall(r"\s*\S+\s*", text)) or ((text,) if text else ())
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.05, (len(pieces), 3))
    base = np.array([0.2, 0.4, 0.3])
    return Attribution(
        pieces, (False,) * len(pieces), rest, values, base, base + values.sum(axis=0), len(pieces)
    )


def explain(text: str, name: str = "Text 1", seed: int = 0, rest: str = "") -> Explanation:
    thresholds = np.array([0.3, 0.45, np.nan])
    return Explanation(name, make_attribution(text, seed, rest), LABELS, thresholds, ("fear",))


EXPLANATIONS = [
    explain("I heard a door open behind me , and nobody was there in the long dark hall", "dev_7"),
    *(explain(text, f"<script>{seed}</script>", seed) for seed, text in enumerate(HOSTILE)),
    explain("", "empty"),
    explain("   ", "blank"),
    explain("a text that is cut ", "cut", rest="and this is <i>never</i> read"),
]


def test_page_is_one_file_with_a_policy_that_names_its_script_and_style():
    page = render_page(EXPLANATIONS, HEADING)
    assert page.count("<script") == 1
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = hashlib.sha256(content.encode()).digest()
        shown = __import__("base64").b64encode(digest).decode()
        assert f"{tag}-src 'sha256-{shown}'" in page
    assert "default-src 'none'" in page
    assert not re.search(r"https?://(?!localhost:9/x)", page)
    assert "<img" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "49" not in re.sub(r"<style>.*</style>|<script>.*</script>|\d\.\d+", "", page)
    assert len(page) < 150_000


def test_page_gives_every_piece_its_numbers():
    page = render_page(EXPLANATIONS[:1], HEADING)
    found = EXPLANATIONS[0].attribution
    spans = re.findall(r'<span class="piece" data-values="([^"]*)">([^<]*)</span>', page)
    assert "".join(text for _, text in spans) == found.text
    numbers = np.array([[float(v) for v in values.split()] for values, _ in spans])
    np.testing.assert_allclose(numbers, found.values, atol=5.1e-6)
    assert f"<td>{found.probs[1]:.3f}</td>" in page
    sign = "≥" if found.probs[0] >= 0.3 else "&lt;"
    assert f"<td>{sign} 0.300</td>" in page
    assert "The run answers: <strong>fear</strong>" in page
    # What the base is: so many masks, named as the tokenizer spells them.
    assert "every token replaced by <code>&lt;mask&gt;</code>" in page
    assert f">base ({found.n_tokens} × &lt;mask&gt;)</th>" in page


def test_page_is_the_same_bytes_and_says_what_the_sum_misses():
    assert render_page(EXPLANATIONS, HEADING) == render_page(EXPLANATIONS, HEADING)
    found = EXPLANATIONS[0].attribution
    off = Attribution(
        found.pieces, found.continued, "", found.values, found.base, found.probs + [0, 0.02, 0]
    )
    page = render_page([Explanation("x", off, LABELS, np.full(3, np.nan), ())], HEADING)
    assert "miss the probability by up to 0.020" in page
    assert "threshold</th>" not in page
    assert "no label" in page


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_page_in_a_browser(browser: Any, tmp_path: Path, width: int, dark: bool):
    path = tmp_path / "page.html"
    path.write_text(render_page(EXPLANATIONS, HEADING), encoding="utf-8")
    page = browser.open(path, width=width, dark=dark)
    assert page.errors == []
    assert page.foreign == []
    texts = page.evaluate("[...document.querySelectorAll('.text')].map(text => text.textContent)")
    assert texts[1] == HOSTILE[0]
    assert texts[3] == HOSTILE[2]
    assert texts[5] == HOSTILE[4].translate(dict.fromkeys(map(ord, "\u202e\u202c\0\7"), "\ufffd"))
    # Nothing sticks out of the page, and every part has a size.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate(
        "[...document.querySelectorAll('article, .bars li .bar, .swatch, .answers')]"
        ".map(part => part.getBoundingClientRect()).map(box => [box.width, box.height])"
    )
    assert len(sizes) > 30
    assert all(w > 0 and h > 0 for w, h in sizes)


@pytest.mark.parametrize("width", [390, 1280])
def test_many_labels_stay_inside_and_the_chosen_one_is_seen(
    browser: Any, tmp_path: Path, width: int
):
    names = tuple(f"emotion{n}>={k}" for n in range(6) for k in (1, 2, 3))
    values = np.zeros((1, 18))
    values[0, 14] = 0.4
    base = np.full(18, 0.5)
    found = Attribution(("word",), (False,), "", values, base, base + values[0])
    path = tmp_path / "page.html"
    explanation = Explanation("x", found, names, np.full(18, np.nan), ("emotion4=3",))
    path.write_text(render_page([explanation], HEADING), encoding="utf-8")
    page = browser.open(path, width=width)
    assert page.errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    left, right = page.evaluate(
        "(box => [box.left, box.right])"
        "(document.querySelector('input:checked').parentElement.getBoundingClientRect())"
    )
    assert 0 <= left < right <= width
    assert page.evaluate("document.querySelector('input:checked').dataset.shown") == "emotion4 ≥ 3"


def test_page_answers_a_choice_of_label_and_the_keys(browser: Any, tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text(render_page(EXPLANATIONS[:1], HEADING), encoding="utf-8")
    page = browser.open(path)
    found = EXPLANATIONS[0].attribution
    page.evaluate("document.querySelectorAll('input[name=target]')[2].click()")
    page.evaluate("document.querySelectorAll('.piece')[1].click()")
    readout = "document.querySelector('.readout').textContent"
    word = found.pieces[1].strip()
    assert page.evaluate(readout) == f"\u2068{word}\u2069: {show_signed(found.values[1, 2])} to joy"
    page.evaluate(
        "document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))"
    )
    assert page.evaluate(readout).endswith(f"{show_signed(found.values[2, 2])} to joy")
    page.evaluate(
        "document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'End', bubbles: true}))"
    )
    assert page.evaluate(readout).startswith(f"\u2068{found.pieces[-1].strip()}")
    strengths = page.evaluate(
        "[...document.querySelectorAll('.piece')]"
        ".map(piece => Number(piece.style.getPropertyValue('--strength')))"
    )
    sizes = np.abs(found.values[:, 2])
    np.testing.assert_allclose(strengths, sizes / sizes.max(), atol=1e-3)
    ups = page.evaluate(
        "[...document.querySelectorAll('.piece')].map(piece => piece.classList.contains('up'))"
    )
    assert ups == (found.values[:, 2] > 0).tolist()
    bars = page.evaluate(
        "[...document.querySelectorAll('.bars .token')].map(token => token.textContent)"
    )
    order = np.argsort(-sizes)[:8]
    assert bars == [found.pieces[place].strip() for place in order]
    # The chosen label's colours are seen: the strongest word is not as its neighbours.
    colours = page.evaluate(
        "[...document.querySelectorAll('.piece')].map(p => getComputedStyle(p).backgroundColor)"
    )
    assert len(set(colours)) > 5


def test_files_of_sentences(tmp_path: Path):
    stale = tmp_path / "texts" / "text-9_joy.png"
    stale.parent.mkdir()
    stale.touch()
    drawn: list[int] = []
    paths = write_sentences(
        tmp_path, "texts", EXPLANATIONS[:2], HEADING, on_figure=lambda: drawn.append(1)
    )
    assert paths == [tmp_path / "texts.html", tmp_path / "texts"]
    names = sorted(path.name for path in (tmp_path / "texts").iterdir())
    assert names == sorted(
        f"text-{n}_{label}.{end}" for n in (1, 2) for label in LABELS for end in ("png", "svg")
    )
    assert len(drawn) == 6
    first = {path.name: path.read_bytes() for path in (tmp_path / "texts").iterdir()}
    (tmp_path / "again").mkdir()
    write_sentences(tmp_path / "again", "texts", EXPLANATIONS[:1], HEADING)
    again = {path.name: path.read_bytes() for path in (tmp_path / "again" / "texts").iterdir()}
    assert len(again) == 6
    assert all(first[name] == data for name, data in again.items())
    assert all(min(read_size(data)) > 200 for name, data in first.items() if "png" in name)
    svg = first["text-2_joy.svg"].decode()
    assert "onerror=alert(1)&gt;" in svg
    assert "<img" not in svg
    assert "<script" not in svg
    (page,) = write_sentences(tmp_path, "texts", EXPLANATIONS, HEADING, figures=False)
    assert not (tmp_path / "texts").exists()
    assert page.stat().st_size < 150_000


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 101, "a b"])
def test_names_do_not_lead_out_of_the_folder(tmp_path: Path, name: str):
    with pytest.raises(KitError, match="cannot be a file name here"):
        write_sentences(tmp_path, name, EXPLANATIONS, HEADING)
    with pytest.raises(KitError, match="cannot be a file name here"):
        write_global(tmp_path, name, [], LABELS, HEADING)
    assert list(tmp_path.iterdir()) == []


def test_sentence_figure_shows_the_strongest_pieces_and_sums_up_the_rest():
    figure = draw_sentence(EXPLANATIONS[0], 1)
    (axes,) = figure.axes
    found = EXPLANATIONS[0].attribution
    widths = [bar.get_width() for bar in axes.patches]
    order = np.argsort(-np.abs(found.values[:, 1]))
    np.testing.assert_allclose(widths[:-1], found.values[order[:12], 1])
    assert widths[-1] == pytest.approx(found.values[order[12:], 1].sum())
    assert sum(widths) == pytest.approx(found.probs[1] - found.base[1])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[-1] == f"{len(order) - 12} other pieces"
    assert axes.get_xlabel() == "contribution to probability"
    title = figure.get_suptitle()
    assert title.startswith(f"fear\nbase 0.400 → probability {found.probs[1]:.3f}")
    assert "threshold 0.450" in title
    assert "threshold" not in draw_sentence(EXPLANATIONS[0], 2).get_suptitle()


@pytest.mark.parametrize("explanation", EXPLANATIONS, ids=lambda e: e.name[:12])
def test_nothing_in_a_figure_overlaps_or_is_clipped(explanation: Explanation):
    names = ("thankfulness>=3", "a label that is much too long for any picture " * 2, "joy")
    long = replace(explanation, target_names=names)
    for target in range(3):
        check_layout(draw_sentence(long, target))


@pytest.mark.parametrize("n_targets", [1, 3, 8])
def test_nothing_in_the_global_figure_overlaps(n_targets: int):
    rng = np.random.default_rng(0)
    words = [f"word{n}" for n in range(20)] + ["incomprehensibilities" * 2]
    found = []
    for _ in range(9):
        pieces = tuple(f"{word} " for word in rng.choice(words, 12))
        values = rng.normal(0, 0.1, (12, n_targets))
        values[:, 0] = np.abs(values[:, 0])
        base = np.full(n_targets, 0.5)
        found.append(
            Attribution(pieces, (False,) * 12, "", values, base, base + values.sum(axis=0))
        )
    effects = sum_effects(found, n_targets)
    names = tuple(f"emotion{n}>=1" for n in range(n_targets))
    figure = draw_effects(effects, names, HEADING)
    check_layout(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [show_target(n) for n in names]


def check_layout(figure: Any) -> None:
    """Values, names and ticks lie inside the picture, and values cover no name."""
    figure.draw_without_rendering()
    canvas = figure.bbox
    for axes in figure.axes:
        names = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
        values = [text.get_window_extent() for text in axes.texts]
        ticks = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text()]
        inside = axes.get_window_extent()
        low, high = inside.x0, inside.x1
        ticks = [box for box in ticks if low - 1 <= (box.x0 + box.x1) / 2 <= high + 1]
        for box in (*names, *values, axes.xaxis.label.get_window_extent()):
            assert box.x0 >= canvas.x0 - 1
            assert box.x1 <= canvas.x1 + 1
        for value in values:
            assert not any(value.overlaps(name) for name in names)
        for one, other in zip(ticks, ticks[1:], strict=False):
            assert one.x1 < other.x0
    title = figure._suptitle
    assert title is None or title.get_window_extent().x1 <= canvas.x1 + 1


def test_effects_add_up_to_the_change_of_the_mean_probability():
    found = [
        make_attribution("We were Happy and happy", 1),
        make_attribution("happy days =1+1", 2),
        make_attribution("", 3),
    ]
    effects = sum_effects(found, 3)
    assert effects.tokens == ("we", "were", "happy", "and", "days", "=1+1")
    place = effects.tokens.index("happy")
    assert effects.occurrences[place] == 3
    assert effects.texts[place] == 2
    total = found[0].values[[2, 4]].sum(axis=0) + found[1].values[0]
    np.testing.assert_allclose(effects.per_text[place], total / 3)
    moved = np.mean([f.probs - f.base for f in found], axis=0)
    np.testing.assert_allclose(effects.per_text.sum(axis=0) + effects.gap, moved)
    order = effects.strongest(1)
    sizes = np.abs(effects.totals[order, 1])
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize(
    ("n_up", "n_down", "limit", "expected"),
    [
        (8, 8, 6, "+++---"),
        (8, 1, 6, "+++++-"),
        (1, 8, 6, "+-----"),
        (2, 1, 6, "++-"),
        (0, 0, 6, ""),
    ],
)
def test_both_directions_are_shown(n_up: int, n_down: int, limit: int, expected: str):
    values = np.array([*range(1, n_up + 1), *range(-n_down, 0), 0.0])[:, None]
    pieces = tuple(f"w{n:02d} " for n in range(len(values)))
    zero = np.zeros(1)
    found = Attribution(pieces, (False,) * len(pieces), "", values, zero, values.sum(axis=0))
    effects = sum_effects([found], 1)
    shown = effects.totals[effects.extremes(0, limit), 0]
    assert "".join("+" if value > 0 else "-" for value in shown) == expected
    assert shown.tolist() == sorted(shown, reverse=True)
    if n_up and n_down:
        assert shown[0] == n_up
        assert shown[-1] == -n_down


def test_effects_as_csv_hold_no_formula():
    found = [make_attribution(text, seed) for seed, text in enumerate(HOSTILE)]
    effects = sum_effects(found, 3)
    rows = list(csv.DictReader(io.StringIO(write_effects(effects, LABELS))))
    assert len(rows) == 3 * len(effects.tokens)
    assert {row["label"] for row in rows} == set(LABELS)
    for row in rows:
        for cell in row.values():
            assert not re.match(r"[=@\t\r]|[+-](?![\d.])", cell)
    first = rows[0]
    best = effects.strongest(0)[0]
    assert float(first["per_sample_text"]) == pytest.approx(effects.per_text[best, 0], abs=1e-6)
    shown = {row["token"] for row in rows}
    assert "'=1+1" in shown


def test_tokens_that_go_on_with_a_word_are_marked():
    found = make_attribution("un believ ably")
    marked = Attribution(
        ("Un", "believ", "ably "), (False, True, True), "", found.values, found.base, found.probs
    )
    assert name_tokens(marked) == ["un", "##believ", "##ably"]


def test_files_of_the_global_view(tmp_path: Path):
    found = [make_attribution(text, seed) for seed, text in enumerate(HOSTILE)]
    paths = write_global(tmp_path, "global-dev", iter(found), LABELS, HEADING)
    assert [path.name for path in paths] == ["global-dev.csv", "global-dev.png", "global-dev.svg"]
    first = [path.read_bytes() for path in paths]
    assert min(map(len, first)) > 1000
    write_global(tmp_path, "global-dev", iter(found), LABELS, HEADING)
    assert [path.read_bytes() for path in paths] == first


def test_words_for_numbers_and_targets():
    assert show_share(-0.0001) == "0.000"
    assert show_share(0.0004, 4) == "0.0004"
    assert show_signed(-0.0127) == "−0.013"
    assert show_signed(0.5) == "+0.500"
    assert show_signed(-0.0) == "0.000"
    assert show_target("anger>=2") == "anger ≥ 2"
    assert name_files(("anger>=1", "anger>=2")) == ("anger-ge-1", "anger-ge-2")
    assert name_files(("a/b", "a b", "../..")) == ("a-b-1", "a-b-2", "target")


def read_size(png: bytes) -> tuple[int, int]:
    return struct.unpack(">II", png[16:24])
