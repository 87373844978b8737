"""The report as a browser shows it: nothing loaded, nothing run, everything seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from semeval_kit.files import write_json
from semeval_kit.run.directory import Run
from semeval_kit.show.figures.pictures import write_figures
from semeval_kit.show.report import write_report

pytestmark = pytest.mark.slow

FIGURES = """
[...document.querySelectorAll('figure img')].map(image => {
  const box = image.getBoundingClientRect();
  return [image.alt, box.width, box.height, image.complete && image.naturalWidth];
})
"""
# The smallest contrast of writing against the ground behind it, over the text of the page.
CONTRAST = """
(() => {
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return luminance(colour);
    }
  };
  const words = 'p, h1, h2, h3, td, th, li, figcaption, blockquote, span, a';
  const nodes = [...document.querySelectorAll(words)];
  return Math.min(...nodes.map(node => {
    const pair = [luminance(getComputedStyle(node).color), ground(node)].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  }));
})()
"""


# Writing that sticks out of its box or of the page; frames that scroll are as wide as they are.
CLIPPED = """
[...document.querySelectorAll('p, li, h1, h2, h3, th, td, figcaption, blockquote, span, code, img')]
  .filter(node => !node.closest('.scroll') && getComputedStyle(node).overflowX === 'visible')
  .filter(node => node.getBoundingClientRect().right > innerWidth + 1
    || (node.clientWidth && node.scrollWidth > node.clientWidth + 1))
  .map(node => node.tagName + ': ' + node.textContent.slice(0, 60))
"""


LONG_NAME = "semeval2025-task11-a_eng_roberta-large_default_the-second-attempt"
# What of a command, or of a hash, is out of sight.
HIDDEN = """
[...document.querySelectorAll('#findings code, td.hash')]
  .filter(node => node.scrollWidth > node.clientWidth + 1 || (node.tagName == 'TD'
    && node.getClientRects()[0].height > 40))
  .map(node => node.textContent)
"""


@pytest.fixture(scope="module")
def report_file(hostile_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / LONG_NAME
    shutil.copytree(hostile_run.path, folder)
    run = Run.open(folder)
    verdict = {"learnt": False, "reasons": ["n-grams score 0.9, the run 0.1"], "floors": []}
    estimate = json.loads(run.estimate_file.read_text(encoding="utf-8"))
    write_json(run.estimate_file, {**estimate, "verdict": verdict})
    return write_report(run)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_report_is_shown_without_errors_requests_or_overflow(browser, report_file, width, dark):
    page = browser.open(report_file, width=width, dark=dark)
    assert page.errors == []
    assert page.foreign == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    figures = page.evaluate(FIGURES)
    assert len(figures) == 8
    for name, wide, high, drawn in figures:
        assert wide > 250, name
        assert high > 100, name
        assert drawn > 400, f"{name}: not shown"
    assert page.evaluate(CONTRAST) > 4.5
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate("document.querySelectorAll('#findings code').length") == 3
    assert page.evaluate("document.querySelectorAll('td.hash').length") > 0
    assert page.evaluate(HIDDEN) == []
    alarm = "getComputedStyle(document.querySelector('.alarm p')).color"
    assert page.evaluate(alarm) == ("rgb(255, 138, 128)" if dark else "rgb(179, 38, 30)")


def test_hostile_texts_are_shown_as_text(browser, report_file, hostile_run):
    page = browser.open(report_file)
    shown = page.evaluate("[...document.querySelectorAll('blockquote')].map(q => q.textContent)")
    assert set(hostile_run.read_train().texts[:7]) <= set(shown)
    assert (
        page.evaluate(
            "document.querySelectorAll(':not(figure) > img, script, iframe, form').length"
        )
        == 0
    )
    assert page.errors == []


def test_a_dark_screen_gets_a_dark_page_and_paper_a_light_one(browser, report_file):
    script = "getComputedStyle(document.body).backgroundColor"
    page = browser.open(report_file, dark=True)
    assert page.evaluate(script) == "rgb(13, 17, 23)"
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.evaluate(script) == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_the_policy_would_stop_what_slips_in(browser, report_file, tmp_path):
    """The check itself must be able to fail: a page with a script and an image is caught."""
    text = report_file.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    slipped = "<script>document.title = 'taken'</script><img src='https://example.org/x.png'>"
    broken.write_text(text.replace("<main>", f"<main>{slipped}"), encoding="utf-8")
    page = browser.open(broken)
    assert page.evaluate("document.title") == f"{LONG_NAME}: report"
    assert len(page.errors) >= 2
    assert any("Content Security Policy" in error for error in page.errors)


def test_pictures_for_the_paper_are_shown_alone(browser, made_run, tmp_path):
    shutil.copytree(made_run.path, tmp_path / "run")
    for path in write_figures(Run.open(tmp_path / "run"), formats=["svg"]):
        page = browser.open(path)
        assert page.errors == [], path.name
        assert page.foreign == [], path.name
        assert page.evaluate("document.documentElement.getBBox().width") > 200, path.name
