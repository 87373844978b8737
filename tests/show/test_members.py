"""Pages of runs that are no fine-tuned encoders: n-grams, and a blend."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from semeval_kit.cli.summary import summarise
from semeval_kit.files import read_json, remove_kept, write_json, write_kept
from semeval_kit.run.directory import Run
from semeval_kit.show.card import make_card
from semeval_kit.show.compare import Resampling, compare_runs
from semeval_kit.show.paper import write_paper
from semeval_kit.show.report import render_report
from semeval_kit.show.tables_of_comparisons import tabulate_comparison

pytestmark = pytest.mark.slow


def make_member(run: Run, folder, member: str, recipe: str, **settings) -> Run:
    """A copy of a run whose files hold only what such a member's do."""
    copy = Run(shutil.copytree(run.path, folder / member))
    write_json(copy.settings_file, {**run.settings, "name": member, "member": member, **settings})
    write_kept(copy.recipe_file, recipe)
    for fold in range(run.n_folds):
        remove_kept(copy.history_file(fold))
        done = json.loads(run.done_file(fold).read_text(encoding="utf-8"))
        kept = ("fold", "n_train", "n_valid", "seconds", "peak_rss_mb")
        write_json(copy.done_file(fold), {name: done[name] for name in kept})
    return Run.open(copy.path)


@pytest.fixture
def linear(made_runs, tmp_path) -> Run:
    recipe = 'encoder = "tfidf"\nfolds = 3\nholdout = 0.0\nholdout_split = ""\nseed = 0\n'
    return make_member(made_runs["strong"], tmp_path, "linear", recipe)


@pytest.fixture
def blend(made_runs, tmp_path) -> Run:
    members = {"strong": "0" * 64, "weak": "1" * 64}
    recipe = 'folds = 3\nholdout = 0.0\nholdout_split = ""\nseed = 0\n'
    run = make_member(made_runs["strong"], tmp_path, "blend", recipe, members=members)
    weights = {
        "names": ["weak", "strong"],
        "target_names": list(run.task.all_labels),
        "joint": [[0.2, 0.8]] * 5,
        "values": {"eng": [[0.25, 0.75]] * 5},
        "own": {},
    }
    write_json(run.path / "weights.json", weights)
    return run


def test_pages_of_a_linear_member(linear, made_runs):
    page = render_report(linear)
    assert " · n-grams and a regression (tfidf) · 3 folds" in page
    assert "encoder tfidf" not in page
    assert "<td>–</td>" not in page.partition('id="table-folds"')[2].partition("</table>")[0]
    card = make_card(linear, n_resamples=0)
    assert "\ntfidf (linear) for A made-up multilabel task" in card
    assert "learning rate" not in card
    text = write_paper(linear, resampling=Resampling(20, 20))[0].read_text(encoding="utf-8")
    assert re.search(r"is a member of kind linear \(3 folds\)\.", text)
    assert "What would score higher?" in summarise(linear)
    runs = [linear, made_runs["weak"]]
    tables = tabulate_comparison(compare_runs(runs, resampling=Resampling(20, 20)))
    cost = next(table for table in tables if table.key == "cost")
    assert cost.rows[0][:3] == ("linear", "tfidf", "")


def test_pages_of_a_blend(blend):
    page = render_report(blend)
    rows = re.findall(r'<tr><th scope="row" class="word">(strong|weak)</th><td>([^<]*)</td>', page)
    assert rows == [("strong", "0.750"), ("weak", "0.250")]
    assert " · blend of strong, weak · 3 folds" in page
    card = make_card(blend, n_resamples=0)
    assert "A blend of 2 members for A made-up multilabel task" in card
    assert ": a blend of strong, weak" in card
    text = write_paper(blend, resampling=Resampling(20, 20))[0].read_text(encoding="utf-8")
    assert "A blend of 2 members: strong, weak (3 folds)." in text
    assert "cite this encoder" not in text


def test_the_page_of_numbers_of_a_linear_member_that_has_not_learnt(made_runs, tmp_path):
    recipe = 'encoder = "tfidf"\nfolds = 3\nholdout = 0.0\nholdout_split = ""\nseed = 0\n'
    run = make_member(made_runs["numbers"], tmp_path, "linear", recipe)
    estimate = read_json(run.estimate_file)
    verdict = {"learnt": False, "reasons": ["a constant scores better"], "floors": []}
    write_json(run.estimate_file, {**estimate, "verdict": verdict})
    page = render_report(run)
    text = " ".join(re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]).split())
    assert "What would score higher? Not learnt. A constant scores better." in text
    assert text.count("--run linear-encoder --model embedded") == 1
    assert " First the command of “Not learnt”, then: semeval-kit blend submissions/linear " in text
    assert "n-grams and a regression (tfidf)" in text
    assert "Weakest number. “" in text
    assert "is the weakest number: RMSE " in text
    assert "Per number, out of fold" in text
    assert "mean of the folds&#39; numbers" in text
    told = text.partition("Recipe")[0]  # whose field is named encoder for every member
    assert not re.search("encoder tfidf|[Ww]eakest label|Per label|folds&#39; probabilities", told)
