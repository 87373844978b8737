"""The commands `tasks`, `tasks NAME --check` and `tasks new`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.task.task import list_tasks, load_task


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["tasks", *words])


def test_lists_names_languages_metric_and_address() -> None:
    lines = run().output.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list_tasks()
    start = lines.index("semeval2025-task11-b")
    assert lines[start + 2 : start + 4] == [
        "    intensity, pearson_r; 11 languages: amh arq chn deu eng esp hau ptbr ron rus ukr",
        "    https://www.codabench.org/competitions/4891/",
    ]
    shown = json.loads(run("--json").output)
    assert [entry["name"] for entry in shown] == list_tasks()


def test_shows_one_task() -> None:
    output = run("semeval2025-task11-c").output
    assert output == run("show", "semeval2025-task11-c").output
    assert "  in the zip    track_c/pred_{lang}.csv\n" in output
    assert "  average over  32 languages; one that is left out counts 0\n" in output
    assert json.loads(run("demo", "--json").output)["labels"]["default"][0] == "anger"


def test_shows_every_target_and_what_is_read() -> None:
    lines = [
        line.split(maxsplit=1) for line in run("semeval2027-stereoqueereval").output.splitlines()
    ]
    shown = {words[0]: words[1] for words in lines if len(words) == 2}
    assert shown["hate_speech"] == "singlelabel"
    assert shown["target"] == "multilabel"
    assert shown["context"] == "{yt_title} {yt_description}"
    assert shown["group"] == "yt_title"
    output = run("semeval2024-task1-a").output
    assert "  kind          regression, 0 to 1\n" in output
    assert "  second text   what follows '\\n'\n" in output
    listed = json.loads(run("--json").output)
    targets = {entry["name"]: entry["targets"] for entry in listed}
    assert targets["semeval2027-stereoqueereval"] == {
        "stereotype": "singlelabel",
        "hate_speech": "singlelabel",
        "target": "multilabel",
    }


def test_every_task_of_the_kit_passes_its_check() -> None:
    result = run("--check")
    assert result.exit_code == 0, result.output
    assert result.output.count(": 0 errors") == len(list_tasks())


@pytest.mark.parametrize(
    "words", [["demo", "--check"], ["--check", "demo"], ["show", "demo", "--check"]]
)
def test_check_may_stand_before_or_after_the_name(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 0
    assert result.output.startswith("demo: 0 errors, ")


def test_a_new_file_passes_the_check_and_says_what_to_do() -> None:
    result = run("new", "semeval2027-task5.toml")
    assert result.output.splitlines()[0] == "Written: semeval2027-task5.toml"
    checked = run("semeval2027-task5.toml", "--check")
    assert checked.exit_code == 0
    assert "semeval2027-task5.toml: 0 errors, 6 warnings\n" in checked.output
    assert "  warning: url is empty: " in checked.output
    assert re.search(r"  warning: line \d+ says TODO: path in the zip; without", checked.output)
    assert "  warning: TODO is still on lines 7, 21, 22, " in checked.output
    assert load_task("semeval2027-task5.toml").name == "semeval2027-task5"


def test_a_new_file_takes_its_shape_from_options() -> None:
    words = "--kind regression --range 1,5 --labels average --id id --pair meaning --langs eng"
    result = run("new", "story.toml", *words.split(), "--text", "{before} {sentence}")
    assert result.exit_code == 0, result.output
    task = load_task("story.toml")
    assert (task.kind, task.range, task.all_labels) == ("regression", (1, 5), ("average",))
    assert task.data.input_columns == ("before", "sentence", "meaning")
    assert task.scoring.metrics == ("spearman",)
    assert run("new", "one.toml", "--kind", "singlelabel", "--delimiter", "tab").exit_code == 0
    one = load_task("one.toml")
    assert (one.data.delimiter, one.submission.delimiter) == ("\t", "\t")
    words = ("--delimiter", "tab", "--member", "pred_{lang}.csv")
    assert run("new", "two.toml", *words).exit_code == 0
    two = load_task("two.toml")
    assert (two.data.delimiter, two.submission.delimiter) == ("\t", ",")
    assert run("new", "lines.toml", "--member", "answers.jsonl").exit_code == 0
    assert load_task("lines.toml").submission.is_jsonl
    assert not two.submission.is_jsonl


def test_a_new_file_never_takes_the_place_of_another() -> None:
    Path("mine.toml").write_text("x")
    result = run("new", "mine.toml")
    assert (result.exit_code, Path("mine.toml").read_text()) == (1, "x")
    assert "mine.toml: is there already" in result.output
    for name in ("Mine.toml", "mine.txt", "two words.toml"):
        assert "Choose another name" in run("new", name).output
        assert not Path(name).exists()


def test_a_wrong_file_ends_with_1_and_names_the_key() -> None:
    run("new", "mine.toml")
    text = Path("mine.toml").read_text()
    Path("mine.toml").write_text(text.replace('id_column = "id"', 'id_colum = "id"', 1))
    result = run("mine.toml", "--check")
    assert result.exit_code == 1
    assert "unknown key 'data.id_colum' (did you mean 'id_column'?)" in result.output


def test_an_unknown_name_is_named_with_the_nearest() -> None:
    result = run("semeval2025-task11")
    assert result.exit_code == 1
    assert (
        "task 'semeval2025-task11' is unknown (did you mean 'semeval2025-task11-" in result.output
    )


@pytest.mark.parametrize("command", [[], ["show"], ["new"]])
def test_help_has_an_example_and_loads_nothing_heavy(command: list[str]) -> None:
    assert "Example:\n    semeval-kit tasks" in run(*command, "--help").output
    code = (
        "import sys\nfrom semeval_kit.cli import main\n"
        f"main(['tasks', *{command!r}, '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
