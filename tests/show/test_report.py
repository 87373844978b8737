from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from semeval_kit.cli.show import figures, report
from semeval_kit.cli.summary import _describe_published
from semeval_kit.errors import KitError
from semeval_kit.files import write_json, write_kept
from semeval_kit.run.directory import Run
from semeval_kit.show.answers import read_answers
from semeval_kit.show.report import list_tiles, render_report, write_report
from semeval_kit.show.results import read_results
from semeval_kit.show.tables_of_scores import tabulate_baselines
from semeval_kit.submission.upload import Upload

pytestmark = pytest.mark.slow

LABELS = ("anger", "fear", "joy", "sadness", "surprise")
SECTIONS = ["score", "labels", "pictures", "mistakes", "training", "settings"]


class Page(HTMLParser):
    """What a page holds: tags, attributes, and the texts of some elements."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.quotes: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._open.append(tag)
        if tag == "blockquote":
            self.quotes.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open and self._open[-1] == "blockquote":
            self.quotes[-1] += data
        if self._open and self._open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data


def copy_run(run: Run, folder: Path) -> Run:
    shutil.copytree(run.path, folder / run.name)
    return Run.open(folder / run.name)


def test_hostile_texts_are_texts(hostile_run):
    page = render_report(hostile_run)
    parsed = Page(page)
    texts = hostile_run.read_train().texts[:7]
    assert texts[0].startswith("<img src=x onerror=")
    assert set(texts) <= {quote if len(quote) < 500 else quote for quote in parsed.quotes}
    assert "&lt;img src=x onerror=alert(1)&gt; and &lt;/script&gt;" in page
    assert not {"script", "iframe", "object", "embed", "form"} & set(parsed.tags)
    sources = [value for tag, name, value in parsed.attributes if (tag, name) == ("img", "src")]
    assert len(sources) == parsed.tags.count("img") == parsed.tags.count("figure")
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]


def test_the_page_asks_for_nothing_and_its_policy_allows_nothing(hostile_run):
    page = render_report(hostile_run)
    parsed = Page(page)
    loads = {"src", "srcset", "data", "action", "poster", "xlink:href", "href", "background"}
    links = [v for tag, name, v in parsed.attributes if name in loads and tag != "img"]
    assert [link for link in links if not link.startswith("#")] == ["data:,"]
    assert not [tag for tag, name, _ in parsed.attributes if name == "style"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(v for _, _, v in parsed.attributes if v.startswith("default-src"))
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    assert "url(" not in style.replace("url(#", "")
    assert "@import" not in style


def test_the_page_says_what_the_files_say(made_run):
    page = render_report(made_run)
    estimate = json.loads(made_run.estimate_file.read_text())
    found = re.findall(r'<p class="value">([\d.]+)', page)
    results = read_results(made_run)
    assert found == [
        f"{value:.4f}"
        for value in (
            estimate["cross_fitted"]["score"],
            estimate["at_half"]["score"],
            estimate["tuned_in_sample"]["score"],
            results.split_score("dev").score,
            results.split_score("test").score,
        )
    ]
    parts = [f"{estimate['cross_fitted'][end]:.4f}" for end in ("low", "high")]
    assert f"95% interval [{parts[0]}, {parts[1]}]" in page
    assert page.count(">optimistic<") == 1
    rows = {row[0]: row for row in Page(page).rows}
    thresholds = json.loads(made_run.thresholds_file.read_text())
    joy = results.split_score("oof").labels[2]
    assert rows["joy"][:3] == ["joy", f"{joy.score:.3f}", str(joy.positives)]
    assert rows["joy"][3] == f"{thresholds['values']['eng'][2]:.3f}"
    shown = [float(row[1]) for row in Page(page).rows if row and row[0] in LABELS]
    assert shown == sorted(shown, reverse=True)
    assert rows["folds"] == ["folds", "3"]
    assert rows["version of torch"][1] == "2.13.0"
    assert re.findall(r'<section id="(\w+)"', page) == SECTIONS
    assert [t for t in SECTIONS if f'href="#{t}"' in page] == SECTIONS


def test_the_same_run_gives_the_same_bytes_and_no_folder_of_this_machine(made_run, tmp_path):
    run = copy_run(made_run, tmp_path)
    path = write_report(run)
    assert path == run.report_file
    first = path.read_bytes()
    assert write_report(run).read_bytes() == first
    assert len(first) < 400_000
    assert str(Path(run.settings["data"]).parent).encode() not in first
    assert str(tmp_path).encode() not in first


def test_ids_are_unique_and_pictures_named(made_run):
    page = render_report(made_run)
    ids = re.findall(r'<[^>]*\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    named = re.findall(r'<img alt="([^"]+)"', page)
    assert len(set(named)) == page.count("<figure") == 8
    for source in re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', page):
        svg = base64.b64decode(source).decode()
        assert svg.startswith("<svg")
        assert not re.search(r"""(?:href|src)=["'](?!#)|<script|@import""", svg)


@pytest.mark.parametrize(
    ("name", "tiles", "first"),
    [
        ("intensity", 5, "Expected Pearson r on new texts"),
        ("single", 3, "Expected accuracy on new texts"),
        ("two-languages", 5, "Expected macro-F1 on new texts"),
        ("numbers", 4, "Expected Spearman rho of the upload"),
    ],
)
def test_every_kind_has_its_page(made_runs, name, tiles, first):
    page = render_report(made_runs[name])
    assert page.count('class="value"') == tiles
    assert f"<h3>{first}</h3>" in page
    assert ("Thresholds per language" in page) == (name == "two-languages")
    assert ("optimistic</span>" in page) == (name not in {"single", "numbers"})


def test_languages_have_their_own_rows(made_runs):
    run = made_runs["two-languages"]
    rows = [row for row in Page(render_report(run)).rows if row and row[0] == "afr"]
    estimate = json.loads(run.estimate_file.read_text())
    half = estimate["at_half"]["languages"]["afr"]
    assert rows[0][:2] == ["afr", f"{half:.4f}"]
    assert rows[1][-1] == "–"  # afr has no label surprise, hence no threshold


def test_published_results_are_ordered_with_the_run_in_its_place(made_run):
    results = read_results(made_run, ("oof",))
    own = results.reading("cross_fitted")["languages"]["eng"]
    baselines = [
        {"system": f"S{i}", "metric": "macro_f1", "values": {"eng": own + d}, "source": "paper"}
        for i, d in enumerate((-0.3, -0.2, -0.1, -0.05, 0.01, 0.02, 0.03, -0.01))
    ]
    task = type(results.task).model_validate({**results.task.model_dump(), "baselines": baselines})
    object.__setattr__(results, "task", task)
    table = tabulate_baselines(results)
    systems = [row[1] for row in table.rows]
    assert systems == ["S6", "S5", "S4", "this run (expected)", "S7", "S3", "S2"]
    values = [float(row[0]) for row in table.rows]
    assert values == sorted(values, reverse=True)
    # The terminal holds the same figure against them: that of the upload, not of single models.
    uploaded = results.expected["languages"]["eng"]
    nearest = min(baselines, key=lambda b: abs(b["values"]["eng"] - uploaded))
    gap = uploaded - nearest["values"]["eng"]
    lines = _describe_published(results)
    assert any(f"({gap:+.4f} expected) {nearest['system']}" in line for line in lines), lines


def test_an_unfinished_run_says_what_is_missing(made_run, tmp_path):
    run = copy_run(made_run, tmp_path)
    done = run.done_file(1).read_bytes()
    run.done_file(1).unlink()
    with pytest.raises(KitError, match=r"fold 1 is not finished; run `semeval-kit train`"):
        write_report(run)
    run.done_file(1).write_bytes(done)
    run.thresholds_file.unlink()
    with pytest.raises(KitError, match=r"thresholds.json: no such file"):
        write_report(run)
    assert not run.report_file.exists()


def test_commands_write_and_say_where(made_run, tmp_path):
    run = copy_run(made_run, tmp_path)
    done = CliRunner().invoke(report, [str(run.path)])
    assert (done.exit_code, done.output) == (0, f"{run.report_file}\n")
    done = CliRunner().invoke(figures, [str(run.path), "--format", "svg"])
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == str(run.figures_dir / "label-distribution.svg")
    done = CliRunner().invoke(figures, [str(run.path), "--format", "jpeg"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: format 'jpeg': cannot be drawn")
    for command in (report, figures):
        assert "Example:  semeval-kit" in CliRunner().invoke(command, ["--help"]).output


def test_mistakes_are_those_of_the_out_of_fold_answers(hostile_run):
    oof = read_answers(hostile_run, "oof")
    texts = set(hostile_run.read_train().texts[:7])
    quotes = Page(render_report(hostile_run)).quotes
    assert set(quotes[:7]) == {text for text in texts}
    assert len(oof) == 150


def test_an_estimate_of_other_languages_says_so(made_run):
    results = read_results(made_run, ("oof",))
    assert list_tiles(results)[0]["detail"].endswith("cross-fitted on 150 out-of-fold examples")
    settings = {**results.settings, "languages": ["eng", "afr"]}
    tiles = list_tiles(replace(results, settings=settings))
    assert tiles[0]["detail"].endswith("learnt from, which are not all those predicted")


def test_a_model_that_has_not_learnt_and_rows_that_differ_are_told_on_top(made_run, tmp_path):
    run = copy_run(made_run, tmp_path)
    estimate = json.loads(run.estimate_file.read_text(encoding="utf-8"))
    expected = {
        **{name: estimate["cross_fitted"][name] for name in ("score", "low", "high", "languages")},
        "gain": 0.0123,
        "n_models": 3,
        "n_rows": 60,
        "split": "test",
        "withheld": "",
        "drifts": [],
    }
    floor = {"name": "n-grams", "score": 0.9, "above": -0.05, "low": -0.1, "high": 0.01}
    verdict = {"learnt": True, "reasons": [], "floors": [floor]}
    write_json(run.estimate_file, {**estimate, "expected": expected, "verdict": verdict})
    page = render_report(Run.open(run.path))
    assert 'role="alert"' not in page
    score = f"{expected['score']:.4f}"
    assert re.findall(r'<p class="value">([\d.]+)', page)[:2] == [score, score]
    assert "mean of 3 models, +0.0123 by averaging" in page
    assert "Expected macro-F1 of the upload" in page
    rows = {row[0]: row for row in Page(page).rows}
    assert rows["n-grams"] == ["n-grams", "0.9000", "-0.0500", "[-0.1000, 0.0100]"]
    unknown = {**expected, "n_rows": 0, "gain": 0.0}
    write_json(run.estimate_file, {**estimate, "expected": unknown, "verdict": verdict})
    page = render_report(Run.open(run.path))
    assert "mean of 3 models, what it gains unknown" in page
    assert "by averaging" not in page
    drift = {"language": "eng", "label": "joy", "oof_rate": 0.1, "test_rate": 0.4, "notable": True}
    expected |= {"withheld": "no shares explain it", "drifts": [drift]}
    verdict |= {"learnt": False, "reasons": ["n-grams scores 0.9000, the run 0.8500"]}
    write_json(run.estimate_file, {**estimate, "expected": expected, "verdict": verdict})
    page = render_report(Run.open(run.path))
    alarm = page.partition('<div class="alarm" role="alert">')[2].partition("</div>")[0]
    assert re.findall(r"<p>(.*)</p>", alarm) == [
        "This model has not learnt the task: n-grams scores 0.9000, the run 0.8500.",
        "The test rows differ from the training rows and no shares explain it: no score is "
        "foretold.",
        "eng &#39;joy&#39;: 10.0% of the out-of-fold rows are called positive, but 40.0% of the "
        "test rows.",
    ]
    assert re.search(r'<div class="tile doubtful">\s*<h3>Expected macro-F1 of the upload', page)


def test_of_several_targets_the_others_have_a_table(made_run, tmp_path):
    run = copy_run(made_run, tmp_path)
    estimate = json.loads(run.estimate_file.read_text(encoding="utf-8"))
    other = {"metric": "spearman", "cross_fitted": {"score": 0.5, "low": 0.4, "high": 0.6}}
    write_json(run.estimate_file, {**estimate, "targets": {"valence": other}})
    page = render_report(Run.open(run.path))
    rows = {row[0]: row for row in Page(page).rows}
    assert rows["valence"] == ["valence", "Spearman rho", "0.5000", "[0.4000, 0.6000]"]
    assert "All else here is about the target main." in page


def test_uploads_are_told_as_the_site_answered(made_run, tmp_path):
    run = copy_run(made_run, tmp_path)
    upload = Upload(
        zip="demo.zip",
        sha256="ab" * 32,
        site="https://example.org",
        competition=1,
        phase=2,
        phase_name="Evaluation",
        time="2026-01-20T10:00:00+00:00",
        state="Finished",
        scores={"avg_macro_f1": 0.7321},
    )
    write_kept(run.path / "uploads.jsonl", json.dumps(asdict(upload)) + "\n")
    rows = {row[0]: row for row in Page(render_report(run)).rows}
    assert rows["2026-01-20T10:00:00+00:00"][1:] == [
        "Evaluation",
        "Finished",
        "avg_macro_f1 0.7321",
        "demo.zip (abababababab)",
    ]
    assert read_results(run, [], n_resamples=0).uploaded == 0.7321
