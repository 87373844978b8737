"""Runs side by side."""

from __future__ import annotations

import csv
import io
import re

import pytest

from semeval_kit.decision.resampling import Board, compare_systems
from semeval_kit.errors import KitError
from semeval_kit.files import read_json
from semeval_kit.show.answers import read_answers
from semeval_kit.show.compare import Resampling, compare_runs, measure_difference
from semeval_kit.show.results import read_results
from semeval_kit.show.tables_of_comparisons import (
    _shorten_names,
    comparison_latex,
    comparison_markdown,
    tabulate_comparison,
)
from semeval_kit.show.tabulate import Table, show_count, show_p, show_seconds, show_spread

QUICK = Resampling(n_resamples=100, n_shuffles=400)


@pytest.fixture(scope="module")
def three(made_runs):
    return compare_runs([made_runs[n] for n in ("weak", "strong", "strong-2")], resampling=QUICK)


def test_scores_and_intervals_are_those_of_the_estimate(three, made_runs):
    for entry in three.entries:
        estimate = read_json(made_runs[entry.results.name].estimate_file)["cross_fitted"]
        assert (entry.tuned.score, *entry.tuned.interval) == tuple(
            estimate[name] for name in ("score", "low", "high")
        )
        labels = {label.label: label.score for label in entry.tuned.labels}
        assert labels == estimate["labels"]["eng"]


def test_runs_are_sorted_and_tested_against_the_best(three, made_runs):
    names = [entry.results.name for entry in three.entries]
    scores = [entry.tuned.score for entry in three.entries]
    assert scores == sorted(scores, reverse=True)
    assert names[-1] == "weak"
    assert three.entries[0].versus_best is None
    answers = {name: read_answers(made_runs[name], "oof") for name in names}
    expected = compare_systems(
        Board.of(
            "macro_f1",
            answers["weak"].gold,
            answers["weak"].examples.languages,
            groups=answers["weak"].groups,
        ),
        answers["weak"].tuned,
        answers[names[0]].tuned,
        n_resamples=100,
        n_shuffles=400,
    )
    assert three.entries[-1].versus_best == expected
    assert expected.difference < -0.2
    assert expected.p_value == 1 / 401


def test_equal_answers_have_a_difference_of_zero_and_p_one(made_runs):
    run = made_runs["strong"]
    answers = read_answers(run, "dev")
    results = read_results(run, [])
    found = measure_difference(results, answers, answers, QUICK)
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_rows_that_differ_have_no_p_but_a_reason(made_runs):
    found = compare_runs([made_runs["strong"], made_runs["two-languages"]], resampling=QUICK)
    by_name = {entry.results.name: entry for entry in found.entries}
    assert by_name["two-languages"].versus_best is None
    assert by_name["two-languages"].no_test_because == (
        "other rows: 300 here, 150 there, 150 shared"
    )
    assert any("No p for two-languages against strong: other rows" in n for n in found.notes)


def test_other_gold_labels_are_a_reason_too(made_runs):
    from dataclasses import replace

    run = made_runs["strong"]
    answers = read_answers(run, "dev")
    other = replace(answers, examples=replace(answers.examples, labels=1 - answers.gold))
    assert measure_difference(read_results(run, []), answers, other, QUICK) == "other gold labels"


def test_kinds_have_tables_of_their_own(made_runs):
    runs = [made_runs[name] for name in ("strong", "single", "intensity")]
    found = compare_runs(runs, "dev", resampling=QUICK)
    titles = [table.title for table in tabulate_comparison(found)]
    assert titles == [
        "made-singlelabel: accuracy, dev",
        "made-singlelabel: Other metrics, dev",
        "made-singlelabel: F1 per label, dev",
        "made-multilabel: macro-F1, dev",
        "made-multilabel: F1 per label, dev (at 0.5)",
        "made-intensity: Pearson r, dev",
        "made-intensity: r per label, dev (at 0.5)",
        "Folds: mean ± sd of each fold's best epoch, at 0.5",
        "Cost: time of all folds together, largest memory of one",
    ]
    assert all(entry.versus_best is None for entry in found.entries)


@pytest.mark.parametrize(
    ("names", "short", "pattern"),
    [
        (("t_eng_a_r", "t_eng_b-c_r"), ("a", "b-c"), "t_eng_…_r"),
        (("t_eng_a_r", "t_eng_a_s"), ("r", "s"), "t_eng_a_…"),
        (("t_a", "t_a_2"), ("a", "a_2"), "t_…"),
        (("mine", "theirs"), ("mine", "theirs"), ""),
        (("t_a_r",), ("t_a_r",), ""),
        (("t_r", "t_r"), ("t_r", "t_r"), ""),
    ],
)
def test_tables_leave_out_what_all_names_share(names, short, pattern):
    found, told = _shorten_names(names)
    assert tuple(found[name] for name in names) == short
    assert told == pattern


def test_sorting_by_parameters_and_loss(made_runs):
    runs = [made_runs[name] for name in ("weak", "strong", "strong-2")]
    by_size = compare_runs(runs, "dev", sort="parameters", resampling=QUICK)
    assert [e.results.name for e in by_size.entries] == ["strong", "strong-2", "weak"]
    by_name = compare_runs(runs, "dev", sort="run", resampling=QUICK)
    assert [e.results.name for e in by_name.entries] == ["strong", "strong-2", "weak"]


def test_csv_holds_every_number_in_full(three):
    rows = list(csv.DictReader(io.StringIO(three.to_csv())))
    assert [row["run"] for row in rows] == [entry.results.name for entry in three.entries]
    assert float(rows[0]["score"]) == three.entries[0].tuned.score
    assert rows[0]["p_value"] == ""
    assert float(rows[2]["p_value"]) == 1 / 401
    assert float(rows[0]["fold_val_loss_mean"]) == pytest.approx(0.37)
    assert float(rows[0]["fold_val_loss_sd"]) == pytest.approx(0.01)
    assert rows[2]["encoder"] == "prajjwal1/bert-tiny"
    assert float(rows[0]["official_test"]) > 0.5
    assert three.to_csv() == three.to_csv()


def test_markdown_and_latex_hold_the_tables(three):
    markdown, latex = comparison_markdown(three), comparison_latex(three)
    best = three.entries[0]
    assert f"| {best.results.name} | {best.tuned.score:.4f} |" in markdown
    assert markdown.count("| run |") == 4
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 4
    assert latex.count(r"\toprule") == latex.count(r"\midrule") == latex.count(r"\bottomrule") == 4
    assert r"\ensuremath{\pm}" in latex
    for line in latex.splitlines():
        if not line.startswith("%"):
            assert not re.search(r"(?<!\\)[%#_]", line.replace(r"\nonlatin}[1]{#1}", "")), line


def test_the_same_seed_gives_the_same_numbers(made_runs):
    runs = [made_runs["weak"], made_runs["strong"]]
    first = compare_runs(runs, "dev", resampling=Resampling(100, 400, seed=3))
    assert (
        first.to_json()
        == compare_runs(runs, "dev", resampling=Resampling(100, 400, seed=3)).to_json()
    )


@pytest.mark.parametrize(
    ("split", "sort", "message"),
    [("test", "score", "split 'test' is unknown"), ("oof", "luck", "cannot sort by 'luck'")],
)
def test_wrong_requests(made_run, split, sort, message):
    with pytest.raises(KitError, match=message):
        compare_runs([made_run], split, sort=sort)


def test_a_run_twice_is_an_error(made_run):
    with pytest.raises(KitError, match="run demo is given twice"):
        compare_runs([made_run, made_run])


def test_cells_are_escaped_in_every_spelling():
    table = Table("k", "a & b", ("run", "x_1"), (("=1+1 <b> 50%", "-0.5"), ("[x] | ~", "1")))
    assert table.to_csv() == "run,x_1\n'=1+1 <b> 50%,-0.5\n[x] | ~,1\n"
    assert table.to_markdown().splitlines()[2:] == [
        "| =1+1 &lt;b&gt; 50% | -0.5 |",
        "| \\[x\\] \\| \\~ | 1 |",
    ]
    latex = table.to_latex()
    assert r"=1+1 \textless{}b\textgreater{} 50\% & -0.5 \\" in latex
    assert r"{[}x] \textbar{} \textasciitilde{} & 1 \\" in latex
    assert r"\caption{a \& b}" in latex


def test_numbers_are_shown_for_people():
    assert show_p(0.0004) == "<0.001"
    assert show_p(0.0314) == "0.031"
    assert show_spread([0.5, 0.7], 3) == "0.600 ± 0.141"
    assert show_spread([0.5], 3) == "0.500"
    assert [show_seconds(s) for s in (45.4, 723, 11_100)] == ["45 s", "12 min 3 s", "3 h 5 min"]
    assert [show_count(n) for n in (22_713_216, 4_400, 12, None)] == ["22.7M", "4.4k", "12", ""]
