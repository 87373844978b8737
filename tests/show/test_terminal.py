"""What the terminal says at the end of a run, beside what the page says."""

from __future__ import annotations

import re
import shutil

import pytest

from semeval_kit.cli.summary import summarise
from semeval_kit.files import read_json, remove_kept, write_json, write_kept
from semeval_kit.run.directory import Run
from semeval_kit.show.report import render_report


@pytest.fixture
def run(made_run, tmp_path) -> Run:
    """A copy of a finished run, to write into."""
    return Run.open(shutil.copytree(made_run.path, tmp_path / "submissions" / made_run.name))


@pytest.mark.slow
@pytest.mark.parametrize("notes", [["The first caveat."], ["The first caveat.", "A second."]])
def test_caveats_have_the_name_under_which_the_page_lists_them(run, notes):
    write_json(run.estimate_file, {**read_json(run.estimate_file), "notes": notes})
    before = summarise(run)  # no page yet: they are told where they are wanted
    assert all(f"  note: {note}" in before for note in notes)
    page = render_report(run)
    heading = page.index(">Caveats</h3>")
    assert all(page.index(note) > heading for note in notes)
    run.report_file.write_text(page)
    said = summarise(run)
    counted = "1 caveat" if len(notes) == 1 else f"{len(notes)} caveats"
    assert f"  {counted}: see Caveats in the report." in said
    assert notes[0] not in said


def test_an_advice_that_ends_in_a_blend_gives_the_blend_too(run):
    """Both commands name folders that are there once the first has run."""
    lines = summarise(run).splitlines()
    blends = [place for place, line in enumerate(lines) if "semeval-kit blend " in line]
    assert blends
    where = run.path.parent
    for place in blends:
        made = re.search(r"--run (\S+) ", lines[place - 1]).group(1)
        assert f"blend {run.path} {where / made} --to " in lines[place]
        assert lines[place].endswith(f" --submissions {where}")
        assert lines[place - 1].endswith(f" --submissions {where}")


def change_task(run: Run, old: str, new: str) -> None:
    text = run.task_file.read_text(encoding="utf-8")
    assert old in text
    write_kept(run.task_file, text.replace(old, new))


def test_the_average_so_far_is_of_what_the_upload_is_foretold_to_score(run):
    change_task(run, 'predict_languages = ["eng"]', 'predict_languages = ["eng", "afr"]')
    scoring = 'languages = ["eng", "afr"]\nmissing_languages = "zero"\n'
    text = run.task_file.read_text(encoding="utf-8")
    head, _, tail = text.rpartition('languages = ["eng"]\n')
    write_kept(run.task_file, head + scoring + tail)
    remove_kept(run.score_file)
    estimate = read_json(run.estimate_file)
    said = summarise(Run.open(run.path))
    half = estimate["cross_fitted"]["score"] / 2
    assert f"counts a missing one as 0, so far {half:.4f} (out of fold)" in said
    expected = {
        "score": 0.7,
        "low": 0.6,
        "high": 0.8,
        "languages": {"eng": 0.7},
        "n_models": 3,
        "n_rows": 60,
        "gain": 0.01,
        "withheld": "",
    }
    write_json(run.estimate_file, {**estimate, "expected": expected})
    said = summarise(Run.open(run.path))
    assert "counts a missing one as 0, so far 0.3500 (foretold of the upload)" in said


@pytest.mark.parametrize("url", ["", "https://example.org/TODO"])
def test_no_link_is_shown_until_the_task_file_has_one(run, url):
    name = run.zip_file.name
    end = summarise(run).splitlines()[-1]
    assert end == f"Next: upload {name} at https://example.org/made (see README, 'Upload by hand')."
    change_task(run, "https://example.org/made", url)
    end = summarise(Run.open(run.path)).splitlines()[-1]
    assert end == (
        f"Next: upload {name} to the competition (the task file has no url of it yet; see README, "
        "'Upload by hand')."
    )
