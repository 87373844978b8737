"""Every command explains itself with an example, and without loading what it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

# One process for all commands: starting one for each would take longer than all the rest.
ASK_ALL = """
import json, sys
import click
from click.testing import CliRunner
from semeval_kit.cli import main

heavy = ("torch", "transformers", "accelerate", "datasets", "sklearn", "scipy", "numpy", "pandas")
heavy += ("matplotlib", "jinja2", "shap", "captum", "huggingface_hub", "pydantic")
answers = []

def ask(command, words, before):
    result = CliRunner().invoke(main, [*words, "--help"])
    loaded = sorted(name for name in heavy if name in sys.modules and name not in before)
    error = repr(result.exception) if result.exception else ""
    answers.append([" ".join(words), result.exit_code, result.output, loaded, error])
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            try:
                before = set(sys.modules)
                ask(command.get_command(context, name), [*words, name], before)
            except ImportError as error:
                answers.append([" ".join([*words, name]), 1, "", [], repr(error)])

ask(main, [], set(sys.modules))
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    """What each command answers to --help, and what it loaded for that."""
    asked = subprocess.run(
        [sys.executable, "-c", ASK_ALL], capture_output=True, text=True, timeout=120
    )
    assert asked.returncode == 0, asked.stderr
    keys = ("command", "code", "text", "loaded", "error")
    found = [dict(zip(keys, answer, strict=True)) for answer in json.loads(asked.stdout)]
    return {answer["command"]: answer for answer in found}


def test_every_command_has_help(answers: dict[str, dict[str, Any]]) -> None:
    assert len(answers) > 20
    broken = {name: answer["error"] for name, answer in answers.items() if answer["code"]}
    assert broken == {}


def test_every_help_has_an_example(answers: dict[str, dict[str, Any]]) -> None:
    without = [name for name, answer in answers.items() if "Example:" not in answer["text"]]
    assert without == []
    for name, answer in answers.items():
        words = " ".join(answer["text"].split("Example")[-1].split())
        assert f"semeval-kit {name}".strip() in words, name


def test_no_help_loads_what_takes_long(answers: dict[str, dict[str, Any]]) -> None:
    """But for what makes the flags of a recipe out of its fields."""
    loading = {name: answer["loaded"] for name, answer in answers.items() if answer["loaded"]}
    assert {name for names in loading.values() for name in names} <= {"pydantic"}
    assert all("--recipe" in answers[name]["text"] for name in loading), loading


def test_every_command_is_in_the_list(answers: dict[str, dict[str, Any]]) -> None:
    listed = {
        line.split()[0]
        for line in answers[""]["text"].split("Commands:\n")[1].split("\n\n")[0].splitlines()
        if line.startswith("  ") and not line.startswith("   ")
    }
    assert {name.split()[0] for name in answers if name} == listed


def test_help_fits_a_terminal(answers: dict[str, dict[str, Any]]) -> None:
    for name, answer in answers.items():
        assert max(map(len, answer["text"].splitlines())) <= 100, name


def test_an_unknown_command_is_told() -> None:
    from click.testing import CliRunner

    from semeval_kit.cli import main

    result = CliRunner().invoke(main, ["tran"])
    assert result.exit_code == 2
    assert "No such command 'tran'" in result.output


def test_the_version_is_told() -> None:
    from click.testing import CliRunner

    from semeval_kit import __version__
    from semeval_kit.cli import main

    result = CliRunner().invoke(main, ["--version"])
    assert result.output == f"semeval-kit, version {__version__}\n"
