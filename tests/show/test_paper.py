"""The system paper's tables, as Markdown, LaTeX and BibTeX."""

from __future__ import annotations

import re
import shutil

import pytest

from semeval_kit.files import read_json
from semeval_kit.run.directory import Run
from semeval_kit.show.compare import Resampling
from semeval_kit.show.paper import (
    collect_citations,
    find_encoder_keys,
    read_key,
    split_entries,
    write_paper,
)
from semeval_kit.show.results import read_results
from semeval_kit.show.tables_of_comparisons import describe_changes, group_seeds
from semeval_kit.show.tabulate import Table, escape_latex, escape_markdown, shorten

QUICK = Resampling(n_resamples=60, n_shuffles=200)
HOSTILE = "<img src=x onerror=alert(1)> \\input{/etc/passwd} 100% $x$ a_b #1 {~^} \u202eעברית|`x`"


@pytest.fixture(scope="module")
def written(made_runs, tmp_path_factory):
    """Paper of "strong" in a copy, with an ablation and another seed."""
    folder = tmp_path_factory.mktemp("paper") / "strong"
    shutil.copytree(made_runs["strong"].path, folder)
    run = Run.open(folder)
    paths = write_paper(run, [made_runs["weak"], made_runs["strong-2"]], resampling=QUICK)
    return run, {path.name: path.read_text(encoding="utf-8") for path in paths}


def test_three_files_are_written_and_the_same_each_time(written, made_runs):
    run, texts = written
    assert list(texts) == ["paper.md", "paper.tex", "references.bib"]
    again = write_paper(run, [made_runs["weak"], made_runs["strong-2"]], resampling=QUICK)
    assert {path.name: path.read_text(encoding="utf-8") for path in again} == texts


def test_every_part_that_a_paper_needs_is_there(written):
    _, texts = written
    for heading in (
        "Task",
        "Data",
        "System",
        "Results",
        "Ablations",
        "Thresholds against 0.5",
        "Folds and seeds",
        "Hyperparameters and search",
        "Hardware, time and versions",
        "Errors",
    ):
        assert f"\n## {heading}\n" in texts["paper.md"]
        assert f"\n\\section{{{heading}}}\n" in texts["paper.tex"]


def test_the_numbers_are_those_of_the_run(written):
    run, texts = written
    estimate = read_json(run.estimate_file)
    for name in ("at_half", "tuned_in_sample", "cross_fitted"):
        assert f"{estimate[name]['score']:.4f}" in texts["paper.md"]
        assert f"{estimate[name]['score']:.4f}" in texts["paper.tex"]
    test = read_results(run, ["test"], n_resamples=60).split_score("test")
    label = test.labels[0]
    cells = f"| {label.positives} | {label.precision:.3f} | {label.recall:.3f} |"
    assert f"| anger | {label.score:.3f} {cells}" in texts["paper.md"]
    official = read_json(run.score_file)["scores"]["avg_macro_f1"]
    assert f"on the gold labels given: macro-F1 {official}, micro-F1 " in texts["paper.md"]
    assert "| eng | train | 150 |" in texts["paper.md"]
    assert "version of torch | 2.13.0" in texts["paper.md"]
    assert "| strong | 0, 1 |" in texts["paper.md"]
    assert "| weak | encoder: bert-tiny |" in texts["paper.md"]


def test_what_is_not_known_is_a_todo_and_never_a_number(written):
    _, texts = written
    for text in (texts["paper.md"], texts["paper.tex"]):
        for what in ("rank", "team name", "post-submission", "search space", "preprocessing"):
            assert re.search(rf"TODO[^\n]*{what}|todo\{{[^\n]*{what}", text)
        assert not re.search(r"rank[^a-z\n]{0,10}\d", text)


def test_a_run_alone_asks_for_seeds_ablations_and_gold(make_run, tmp_path):
    run = make_run(tmp_path, gold=False, encoder="nobody/new-encoder-7b")
    text, latex, bib = (
        path.read_text(encoding="utf-8") for path in write_paper(run, resampling=QUICK)
    )
    assert "**TODO: test score: no gold labels" in text
    assert "**TODO: ablations: give other runs" in text
    assert "**TODO: seeds: only one seed" in text
    assert "(**TODO: cite this encoder; it is not known to the kit**)" in text
    assert r"(\todo{cite this encoder; it is not known to the kit})" in latex
    assert bib.startswith("% TODO: BibTeX of the encoder nobody/new-encoder-7b")
    assert "Per label, test" not in text


def test_environments_and_braces_are_balanced(written, made_runs, tmp_path):
    texts = [written[1]["paper.tex"]]
    for name in ("intensity", "single", "two-languages"):
        copy = tmp_path / name
        shutil.copytree(made_runs[name].path, copy)
        texts.append(write_paper(Run.open(copy), resampling=QUICK)[1].read_text(encoding="utf-8"))
    for text in texts:
        check_latex(text)


def test_every_citation_has_an_entry(written):
    _, texts = written
    groups = re.findall(r"\\cite\{([^}]*)\}", texts["paper.tex"])
    cited = {key for group in groups for key in group.split(",")}
    entries = [read_key(entry) for entry in split_entries(texts["references.bib"])]
    assert cited <= set(entries)
    assert len(entries) == len(set(entries))
    assert {"made2025task", "wang2020minilm", "turc2019well", "yeh2000more"} <= set(entries)
    assert texts["references.bib"].count("{") == texts["references.bib"].count("}")


def test_hostile_texts_are_text(make_run, tmp_path):
    run = make_run(tmp_path, quality=0.01)
    paths = write_paper(run, resampling=QUICK)
    markdown, latex = (path.read_text(encoding="utf-8") for path in paths[:2])
    assert "<img" not in markdown
    assert "<script" not in markdown
    assert "\u202e" not in markdown
    assert "\u202e" not in latex
    check_latex(latex)


def test_latex_of_a_hostile_text():
    assert escape_latex(HOSTILE) == (
        r"\textless{}img src=x onerror=alert(1)\textgreater{} \textbackslash{}input\{/etc/passwd\} "
        r"100\% \$x\$ a\_b \#1 \{\textasciitilde{}\textasciicircum{}\} "
        "[U+202E]\\nonlatin{עברית}\\textbar{}\\textasciigrave{}x\\textasciigrave{}"
    )
    assert escape_latex("a" * 61) == "a" * 30 + r"\allowbreak{}" + "a" * 30 + r"\allowbreak{}a"
    assert escape_latex("café “x” – 5 ± 1") == r"café “x” – 5 \ensuremath{\pm} 1"
    assert escape_latex("мир дом, ok") == r"\nonlatin{мир дом}, ok"
    once = escape_latex("50%")
    assert escape_latex(once) is once


def test_markdown_of_a_hostile_text():
    assert escape_markdown(HOSTILE) == (
        r"&lt;img src=x onerror=alert(1)&gt; \\input\{/etc/passwd\} 100% \$x\$ a\_b \#1 \{\~^\} "
        r"\[U+202E\]עברית\|\`x\`"
    )
    assert escape_markdown("see https://example.org") == "see https:&#47;&#47;example.org"
    assert escape_markdown("two\nlines") == "two lines"
    assert shorten("abcdef", 4) == "abc…"


def test_long_tables_go_on_several_pages():
    table = Table("t", "Rows", ("n",), tuple((str(i),) for i in range(85)))
    pages = table.pages()
    assert [(p.key, p.title, len(p.rows)) for p in pages] == [
        ("t-1", "Rows (1 of 3)", 40),
        ("t-2", "Rows (2 of 3)", 40),
        ("t-3", "Rows (3 of 3)", 5),
    ]


def test_runs_that_differ_in_the_seed_alone_are_a_group(made_runs):
    results = [
        read_results(made_runs[n], [], n_resamples=0) for n in ("strong", "weak", "strong-2")
    ]
    groups = group_seeds(results)
    assert [[r.name for r in group] for group in groups] == [["strong", "strong-2"], ["weak"]]
    assert describe_changes(results[1], results[0]) == "encoder: bert-tiny"
    assert describe_changes(results[0], results[0]) == "nothing"


@pytest.mark.parametrize(
    ("encoder", "keys"),
    [
        ("embedded", ("wang2020minilm", "reimers2019sentence")),
        ("bert-large-cased", ("devlin2019bert",)),
        ("google-bert/bert-base-multilingual-cased", ("devlin2019bert",)),
        ("distilbert-base-uncased", ("sanh2019distilbert",)),
        ("microsoft/mdeberta-v3-base", ("he2021debertav3", "he2021deberta")),
        ("FacebookAI/xlm-roberta-large", ("conneau2020unsupervised",)),
        ("google/rembert", ("chung2021rethinking",)),
        ("sentence-transformers/LaBSE", ("feng2022labse",)),
        ("/models/all-mpnet-base-v2", ("song2020mpnet", "reimers2019sentence")),
        ("/models/roberta/my-model", ()),
        ("Davlan/afro-xlmr-large", ()),
        ("nobody/llm-9000", ()),
    ],
)
def test_encoders_are_known_by_their_names(encoder, keys):
    assert find_encoder_keys(encoder) == keys


def test_a_task_without_bibtex_asks_for_it():
    found = collect_citations([], ["bert-base-cased"])
    assert found.to_bibtex().startswith("% TODO: BibTeX of the task and its data")
    assert found.task_keys == ()


def check_latex(text: str) -> None:
    """Environments nest, braces match, rows have as many cells as columns, nothing is raw."""
    bare = re.sub(r"(?<!\\)%.*", "", text)
    plain = re.sub(r"\\[\\{}]", "", bare)
    assert plain.count("{") == plain.count("}")
    stack: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    for columns, body in re.findall(
        r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", bare, re.DOTALL
    ):
        bare_columns = columns.replace(r"\raggedright\arraybackslash", "")
        n_columns = len(re.findall(r"[lr]|p\{", bare_columns.replace(r"\linewidth", "")))
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {n_columns}
        assert not any(row.startswith("[") for row in rows)
    document = bare.partition(r"\begin{document}")[2]
    assert not re.search(r"(?<!\\)[#$^]", document)
