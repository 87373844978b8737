"""Every sentence with a number on card, paper and report says what the run's own files say."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from html.parser import HTMLParser
from typing import Any

import pytest

from semeval_kit.run.directory import Run
from semeval_kit.show.card import make_card
from semeval_kit.show.compare import Resampling
from semeval_kit.show.paper import write_paper
from semeval_kit.show.report import render_report
from semeval_kit.training.recipe import list_recipes, load_members, load_recipe

pytestmark = pytest.mark.slow

KINDS = {"default": "intensity", "distilbert-tutorial": "singlelabel"}
METRICS = {"multilabel": "macro-F1", "intensity": "Pearson r", "singlelabel": "accuracy"}
OFFICIAL = {
    "multilabel": ("macro-F1", "micro-F1"),
    "intensity": ("Pearson r",),
    "singlelabel": ("accuracy", "weighted F1"),
}
SCHEMES = {
    "bert-report": "20% held out",
    "default": "5 folds",
    "demo": "3 folds",
    "distilbert-tutorial": "dev held out",
    "relatedness": "4 folds",
}
RATES = {
    "bert-report": "3e-05",
    "default": "0.00012 (by the encoder's width)",
    "demo": "0.0002",
    "distilbert-tutorial": "2e-05",
    "relatedness": "5e-05",
}
# Of another subject than the run: style, captions, and what the estimate's own tests hold.
FIXED = (
    "Intervals at 95 percent are from",
    "At the epoch that was kept",
    "Written by semeval-kit",
    "One threshold per label is tuned",
)
TEXT = "A made-up {kind} task, 100% for tests & nothing else"


@pytest.fixture(scope="module", params=SCHEMES)
def case(request, make_run, tmp_path_factory) -> tuple[Run, dict[str, Any]]:
    """A run by a shipped recipe, and what its files say, read without the kit."""
    fields = load_recipe(request.param).model_dump()
    encoder = fields.pop("encoder")
    given = {name: fields.pop(name) for name in ("seed", "folds", "holdout")}
    run = make_run(
        tmp_path_factory.mktemp(request.param),
        kind=KINDS.get(request.param, "multilabel"),
        encoder=encoder,
        recipe=fields,
        **given,
    )
    return run, read_facts(run, request.param)


def test_every_shipped_recipe_is_here():
    """A recipe of several members is none of a run: its members' recipes are."""
    systems = {name for name in list_recipes() if load_members(name)}
    assert systems == {"relatedness-strong", "strong"}
    assert set(SCHEMES) == set(list_recipes()) - systems


def read_facts(run: Run, recipe: str) -> dict[str, Any]:
    path = run.path
    kind = KINDS.get(recipe, "multilabel")
    estimate = json.loads((path / "estimate.json").read_text(encoding="utf-8"))
    score = json.loads((path / "score.json").read_text(encoding="utf-8"))
    places = [*sorted(path.glob("fold-*/done.json")), *sorted(path.glob("seed-*/fold-*/done.json"))]
    done = [json.loads(place.read_text("utf-8")) for place in places]
    with (path / "folds.csv").open(encoding="utf-8", newline="") as file:
        folds = [int(row["fold"]) for row in csv.DictReader(file)]
    seconds = round(sum(fold["seconds"] for fold in done))
    learnt = sum(fold == -1 for fold in folds) or len(folds)
    facts = {
        "kind": kind,
        "title": TEXT.format(kind=kind),
        "metric": METRICS[kind],
        "scheme": SCHEMES[recipe],
        "n_learnt": learnt,
        "n_held_out": sum(fold >= 0 for fold in folds),
        "rate": RATES[recipe],
        "time": f"{seconds // 60} min {seconds % 60} s",
        "parameters": "22.7M" if done[0]["parameters"] == 22_700_000 else "4.4M",
        "n_models": len(done),
        "seeds": "seeds 0 to 1" if list(path.glob("seed-*")) else "seed 0",
        "per": "fold and seed" if list(path.glob("seed-*")) else "fold",
        "recipe": tomllib.loads((path / "recipe.toml").read_text(encoding="utf-8")),
        "official": ", ".join(
            f"{name} {score['scores'][f'avg_{metric}']}"
            for name, metric in zip(OFFICIAL[kind], score["languages"][0]["metrics"], strict=True)
        ),
        "gain": f"{estimate['gain'][0]:.4f} [{estimate['gain'][1]:.4f}, {estimate['gain'][2]:.4f}]",
        "notes": estimate["notes"],
    }
    for name in ("at_half", "tuned_in_sample", "cross_fitted"):
        reading = estimate[name]
        facts[f"{name}_score"] = f"{reading['score']:.4f}"
        facts[f"{name}_ends"] = f"[{reading['low']:.4f}, {reading['high']:.4f}]"
        facts[name] = f"{facts[f'{name}_score']} {facts[f'{name}_ends']}"
    metric = next(iter(score["languages"][0]["metrics"]))
    facts["test_score"] = f"{score['scores'][f'avg_{metric}']:.4f}"
    return facts


def sentences(markdown: str) -> set[str]:
    """Lines with a number outside tables, titles and code; Markdown's escapes undone."""
    body = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    body = re.sub(r"^```.*?^```", "", body, flags=re.DOTALL | re.MULTILINE)
    lines = [re.sub(r"\\(.)", r"\1", line).replace("&amp;", "&") for line in body.splitlines()]
    return {
        line.replace("&#47;", "/")
        for line in lines
        if re.search(r"\d", line) and not line.startswith(("|", "**", "#", *FIXED))
    }


def test_the_paper_says_what_the_files_say(case):
    run, facts = case
    path = write_paper(run, resampling=Resampling(20, 20))[0]
    say = sentences(path.read_text(encoding="utf-8"))
    hold_out = f": {facts['n_held_out']} rows" if facts["n_models"] == 1 else ""
    expected = [
        "{title} [@made2025task] https://example.org/made.",
        "It has 5 labels: anger, fear, joy, sadness, surprise. Predicted: eng; learnt from: eng.",
        f"Trained on {{n_learnt}} rows of train ({{scheme}}{hold_out}).",
        "By the local scorer (rules of generic) on the gold labels given: {official}.",
        "Runs given to this report: 1.",
        "All folds took {time} together.",
        *facts["notes"],
    ]
    tuned = facts["kind"] != "singlelabel"
    decided = ", with cross-fitted decisions" if tuned else ""
    expected.append(f"Expected {{metric}} on new texts{decided}: {{cross_fitted}}.")
    if tuned:
        expected += [
            "At 0.5: {at_half}. Tuned on the same rows (optimistic): {tuned_in_sample}.",
            "Cross-fitted: {cross_fitted}. Gain of tuning, cross-fitted: {gain}.",
        ]
    if facts["n_models"] > 1:
        expected.append("Probabilities of dev and test are the mean over the {n_models} models.")
    expected = {line.format(**facts) for line in expected if re.search(r"\d|\{", line)}
    free = {
        line for line in say - expected if line.startswith(("Also among", "all-", "bert-", "dis"))
    }
    assert say - free == {line for line in expected if re.search(r"\d", line)}
    system = next(line for line in free if not line.startswith("Also"))
    pooling = facts["recipe"]["pooling"]
    assert f"with {facts['parameters']} parameters and {pooling} pooling is" in system
    assert system.endswith(f"[@wolf2020transformers] ({facts['scheme']}).")
    also = next(line for line in free if line.startswith("Also"))
    assert re.fullmatch(
        r"Also among the training texts: \d of 48 dev texts, \d of 60 test texts.", also
    )


def test_the_card_says_what_the_files_say(case):
    run, facts = case
    say = sentences(make_card(run, n_resamples=20))
    recipe = facts["recipe"]
    expected = {
        f"Trained on {facts['n_learnt']} rows of train (eng) of {facts['title']}, "
        "<https://example.org/made>.",
        f"{facts['scheme']}, {facts['seeds']}, at most {recipe['epochs']} epochs, batch "
        f"{recipe['batch_size']}, learning rate",
        f"{facts['rate']}; head {recipe['head_lr']}, {recipe['pooling']} pooling, texts cut at "
        f"{recipe['max_length']} tokens. {facts['parameters']} parameters;",
        f"{facts['time']} for all folds on A made-up CPU.",
        *(f"- {note}" for note in facts["notes"] if re.search(r"\d", note)),
    }
    if facts["n_models"] > 1:
        # No exported folder holds two encodings and a comparison.
        export = "" if recipe.get("pairs") == "apart" else " `semeval-kit export` puts"
        expected |= {
            f"This is a run of semeval-kit with {facts['n_models']} models, one per "
            f"{facts['per']}.{export}",
            f"The figures of dev and test are those of the mean over the {facts['n_models']} "
            "models; a single model scores about",
        }
    about_encoder = {line for line in say if " fine-tuned for " in line or "Weights: from" in line}
    assert say - about_encoder == expected
    (first,) = (line for line in about_encoder if "fine-tuned" in line)
    assert first.endswith(": 5 labels (anger, fear, joy, sadness, surprise), language eng.")


class Prose(HTMLParser):
    """Headings and paragraphs of a page, in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self._inside = 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag in {"h3", "p", "li"}:
            self._inside += 1
            self.texts.append("")

    def handle_endtag(self, tag):
        self._inside -= tag in {"h3", "p", "li"}

    def handle_data(self, data):
        if self._inside:
            self.texts[-1] += data


def test_the_report_says_what_the_files_say(case):
    run, facts = case
    page = render_report(run)
    head = page.partition('<section id="labels"')[0]
    head = re.sub(r"<section>.*?</section>", "", head, flags=re.DOTALL)
    say = [text for text in Prose(head).texts if re.search(r"\d", text)]
    encoder = facts["recipe"]["encoder"]
    assert say[:2] == [
        facts["title"],
        f"language eng · encoder {encoder} · {facts['scheme']} · {facts['seeds']} · 2025-01-31",
    ]
    tuned = facts["kind"] != "singlelabel"
    how = "cross-fitted on" if tuned else "on"
    expected = [
        *([f"Expected {facts['metric']} on new texts"] if "1" in facts["metric"] else []),
        facts["cross_fitted_score"],
        f"95% interval {facts['cross_fitted_ends']}; {how} {facts['n_held_out']} out-of-fold "
        "examples",
    ]
    if tuned:
        sign = "" if facts["gain"].startswith("-") else "+"
        expected += [
            "At threshold 0.5",
            facts["at_half_score"],
            f"95% interval {facts['at_half_ends']}; tuning gains {sign}{facts['gain']}",
            f"{facts['tuned_in_sample_score']} optimistic",
            f"95% interval {facts['tuned_in_sample_ends']}; scored on the rows that chose the "
            "thresholds",
        ]
    assert say[2 : 2 + len(expected)] == expected
    rest = say[2 + len(expected) :]
    assert facts["test_score"] in rest
    mean = ", mean of the folds' probabilities" if facts["n_models"] > 1 else ""
    use = "; held out; chose the epoch" if facts["scheme"] == "dev held out" else ""
    details = [text.partition("; ")[2] for text in rest if text.startswith("95% interval")]
    assert details == [f"48 examples{mean}{use}", f"60 examples{mean}"]
