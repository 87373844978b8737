"""`semeval-kit run` and `sweep`: from options to what a person reads at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from semeval_kit.cli import main
from semeval_kit.cli.options import read_engine, read_plan
from semeval_kit.cli.summary import summarise
from semeval_kit.files import read_json, write_json
from semeval_kit.run import stages
from semeval_kit.run.directory import Run
from semeval_kit.run.stages import Engine

TINY = ["--epochs", "1", "--holdout", "0.4", "--precision", "fp32", "--batch-size", "8"]
Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tiny_data: Path, tiny_bert: Path, tmp_path: Path) -> Invoke:
    """Call a command with the tiny data and encoder."""

    def call(command: str, *words: str, model: str = str(tiny_bert), **options: Any) -> Result:
        given = {"task": "semeval2025-task11-a", "data": tiny_data, "submissions": tmp_path}
        given |= {"langs": "eng"} if "langs" not in options else {}
        arguments = [command, *TINY]
        arguments += ["--model", model] if model else []
        for name, value in (given | options).items():
            arguments += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
        return CliRunner().invoke(main, [*arguments, *words])

    return call


@pytest.mark.usefixtures("in_process")
def test_the_end_says_what_to_expect_and_where_the_zip_is(
    invoke: Invoke, tiny_data: Path, tmp_path: Path
) -> None:
    result = invoke("run", "--no-report", "--seeds", "1", gold=tiny_data / "gold", run="mine")
    assert result.exit_code == 0, result.output
    out = result.stdout
    assert "Out-of-fold macro-F1 on" in out
    assert "untuned (0.5)" in out
    assert "tuned, cross-fitted" in out
    assert "expect this" in out
    assert f"Score on {tiny_data / 'gold'}" in out
    assert f"zip:     {tmp_path / 'mine' / 'mine.zip'}" in out
    # Thirteen rows and one epoch of a tiny encoder teach nothing: no upload is offered.
    assert "This model has not learnt the task:" in out
    assert "Likely causes: too few epochs" in out
    assert "Next: train it longer" in out
    assert "upload mine.zip" not in out
    # One language was asked for: that the average needs all is said once, and is no warning.
    assert result.output.count("28 languages") == 1
    assert "warning: 1 of" not in result.output
    assert "32 rows in eng" in result.stderr
    assert "32 rows in eng" not in out
    again = invoke("run", "--no-report", "--seeds", "1", gold=tiny_data / "gold", run="mine")
    assert again.stdout == out
    run = Run.open(tmp_path / "mine")
    verdict = {"learnt": True, "reasons": [], "floors": []}
    write_json(run.estimate_file, {**read_json(run.estimate_file), "verdict": verdict})
    assert "has not learnt" not in summarise(run)
    assert "Next: upload mine.zip" in summarise(run)


@pytest.mark.usefixtures("in_process")
def test_without_test_files_the_next_step_is_to_get_them(
    invoke: Invoke, tiny_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    for split in ("train", "dev"):
        path = folder / "track_a" / split / "eng.csv"
        path.parent.mkdir(parents=True)
        path.write_bytes((tiny_data / "track_a" / split / "eng.csv").read_bytes())
    result = invoke("run", "--no-report", data=folder, run="mine")
    assert result.exit_code == 0, result.output
    assert "Next: put the test files beside the others" in result.stdout
    assert "  1 of the task's 28 languages: the official average needs all and" in result.stdout
    assert "zip:" not in result.stdout


@pytest.mark.usefixtures("in_process")
def test_each_language_can_have_a_run_of_its_own(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("run", "--no-report", "--per-language", langs="eng,deu", run="both")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "both" / "both.zip").is_file()
    assert Run.open(tmp_path / "both" / "languages" / "deu").languages == ("deu",)
    refused = CliRunner().invoke(main, ["train", str(tmp_path / "both")])
    assert refused.exit_code == 1
    assert "holds one run per language" in refused.output


@pytest.mark.usefixtures("in_process")
def test_the_report_is_written_unless_it_is_not_wanted(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    presented: list[str] = []
    monkeypatch.setattr(stages, "present", lambda run, _: presented.append(run.name))
    assert invoke("run", "--no-report", run="mine").exit_code == 0
    assert presented == []
    assert invoke("run", run="mine").exit_code == 0
    assert presented == ["mine"]


@pytest.mark.parametrize(("command", "options"), [("run", ["--run", "mine"]), ("sweep", [])])
def test_an_interrupt_says_how_to_go_on(
    invoke: Invoke,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
    options: list[str],
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "run_all", interrupt)
    result = invoke(command, *options, model=tiny_bert)
    assert result.exit_code == 130
    name = "mine" if options else "semeval2025-task11-a_eng_tiny-bert_default"
    assert f"interrupted; the same command goes on with {tmp_path / name}" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ({"langs": None}, 2, "--langs is missing: name one or more of afr amh"),
        ({"langs": "eng,xyz"}, 1, "xyz"),
        ({"task": "semeval2025-task11-x"}, 1, "semeval2025-task11-x"),
        ({"recipe": "none"}, 1, "recipe 'none': not found. Known:"),
        ({"lr": "fast"}, 2, "'fast' is not a valid float"),
        ({"lr": "-1"}, 1, "lr: Input should be greater than 0; got -1.0"),
        ({"lr": "2e5"}, 1, "lr: Input should be less than or equal to 1; got 200000.0"),
        ({"lr": "inf"}, 1, "lr: Input should be a finite number; got inf"),
        ({"pooling": "max"}, 2, "'max' is not one of"),
        ({"model": "./no-such-folder"}, 1, "no config.json in that folder"),
        ({"data": "/no/such/folder"}, 1, "/no/such/folder"),
    ],
)
def test_errors_say_what_to_do_without_a_traceback(
    invoke: Invoke, options: dict[str, Any], code: int, told: str
) -> None:
    result = invoke("run", "--no-report", **options)
    assert result.exit_code == code, result.output
    assert told in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_sweep_needs_encoders(invoke: Invoke) -> None:
    result = invoke("sweep", model="")
    assert result.exit_code == 2
    assert "recipe 'default' lists no encoders: name them" in result.output


def plan_of(**changes: Any) -> tuple[Path, stages.Plan]:
    from semeval_kit.cli.main_job import run

    names = [option.name for option in run.params]
    given: dict[str, Any] = dict.fromkeys(names)
    given |= {"task": "semeval2025-task11-a", "data": Path("d"), "langs": "eng"}
    given |= {"train_splits": "train", "submissions": Path("s"), **changes}
    return read_plan(given)


def test_a_run_is_named_by_task_languages_encoder_and_recipe() -> None:
    assert plan_of()[0] == Path("s/semeval2025-task11-a_eng_embedded_default")
    path, _ = plan_of(langs="eng deu", model="Org/My-Model", recipe="bert-report")
    assert path == Path("s/semeval2025-task11-a_eng-deu_my-model_bert-report")
    assert "28-languages" in plan_of(langs="all")[0].name
    assert plan_of(run_name="mine")[0] == Path("s/mine")
    assert plan_of(task="demo", langs=None)[0] == Path("s/demo_eng_embedded_demo")


def test_options_become_a_plan() -> None:
    _, plan = plan_of(
        langs="deu, eng eng", train_langs="eng", train_splits="train, dev", lr=3e-5, epochs=7
    )
    assert plan.languages == ("deu", "eng")
    assert plan.train_languages == ("eng",)
    assert plan.train_splits == ("train", "dev")
    assert (plan.config.lr, plan.config.epochs) == (3e-5, 7)
    assert plan_of(langs="all", train_langs="all")[1].train_languages[0] == "afr"


def test_every_recipe_field_has_a_flag() -> None:
    from semeval_kit.cli.main_job import run
    from semeval_kit.training.recipe import Recipe

    flags = {option.name for option in run.params}
    assert set(Recipe.model_fields) - {"encoder"} <= flags
    assert "model" in flags


def test_options_become_an_engine() -> None:
    given = {"jobs": 2, "threads": None, "processes": 3, "other": 1}
    assert read_engine(given) == Engine(jobs=2, threads=None, processes=3)
    assert given == {"other": 1}


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_the_encoder_is_measured_before_fine_tuning_when_asked(
    invoke: Invoke, tmp_path: Path
) -> None:
    result = invoke("run", "--before", run="mine")
    assert result.exit_code == 0, result.output
    table = result.stdout.split("Before and after fine-tuning")[1]
    joy = next(line.split() for line in table.splitlines() if line.split()[:1] == ["joy"])
    assert float(joy[2]) - float(joy[1]) == pytest.approx(float(joy[3]), abs=2e-4)
    before = Run.open(tmp_path / "mine" / "before")
    assert before.recipe["epochs"] == 0
    assert before.folds_file.read_bytes() == Run.open(tmp_path / "mine").folds_file.read_bytes()
    assert not before.zip_file.exists()
    assert not list(before.path.rglob("*.safetensors"))
    again = invoke("run", "--before", run="mine")
    assert again.stdout == result.stdout
    page = tmp_path / "mine" / "report.html"
    html = page.read_text(encoding="utf-8")
    assert 'id="table-before"' in html
    assert 'id="picture-before-after"' in html
    drawn = CliRunner().invoke(main, ["figures", str(tmp_path / "mine"), "--format", "svg"])
    assert "before-after.svg" in drawn.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_sweep_compares_what_could_be_trained(
    invoke: Invoke, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    models = [str(tiny_encoder("bert")), "./no-such-folder", str(tiny_encoder("electra"))]
    words = [word for model in models for word in ("--model", model)]
    result = invoke("sweep", *words, model="")
    assert result.exit_code == 1
    assert "not every encoder could be trained." in result.stderr
    assert "./no-such-folder: encoder './no-such-folder': no config.json" in result.stderr
    runs = sorted(path.name for path in tmp_path.iterdir() if (path / "estimate.json").is_file())
    assert runs == [f"semeval2025-task11-a_eng_tiny-{name}_default" for name in ("bert", "electra")]
    assert all(name in result.stdout for name in ("tiny-bert", "tiny-electra"))
    for name in runs:
        assert (tmp_path / name / "report.html").is_file()
        assert (tmp_path / name / "README.md").is_file()
    listed = tmp_path / "own.toml"
    listed.write_text(f"sweep = {[models[0]]!r}\n".replace("'", '"'), encoding="utf-8")
    assert "tiny-bert_own" in invoke("sweep", model="", recipe=listed).stdout
    named = invoke("sweep", *words, model="", run="mine")
    assert named.exit_code == 2
    assert "a sweep names each by its encoder" in named.output
