"""The README names commands that exist, and every command there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from semeval_kit.cli import main
from semeval_kit.task.task import list_tasks
from semeval_kit.training.recipe import list_recipes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def code(text: str) -> str:
    """Fenced blocks and inline code."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))


def lines(text: str) -> list[str]:
    """What stands after `semeval-kit` in each line of code."""
    joined = code(text).replace("\\\n", " ")
    return re.findall(r"\bsemeval-kit ([a-z][^|&;#\n]*)", joined)


def resolve(line: str) -> tuple[click.Command | None, list[str]]:
    """The command of a line, and the words that are left for it."""
    command: click.Command | None = main
    words = line.split()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        context = click.Context(command)
        name = words.pop(0)
        found = command.get_command(context, name)
        if found is None and command is not main:  # `tasks NAME` is read as `tasks show NAME`
            found = command.get_command(context, "show")
        command = found
    return command, words


def test_every_command_that_it_names_exists(readme: str) -> None:
    assert len(lines(readme)) > 10
    for line in lines(readme):
        assert resolve(line)[0] is not None, line


def test_every_option_that_it_names_exists(readme: str) -> None:
    for line in lines(readme):
        command, words = resolve(line)
        assert command is not None, line
        known = {
            name for option in command.params for name in (*option.opts, *option.secondary_opts)
        }
        flags = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert flags <= known | {"--help"}, line


def test_every_target_that_it_names_exists(readme: str) -> None:
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code(readme)))
    assert {"submission", "test"} <= named
    assert named <= targets()


def test_every_command_is_named(readme: str) -> None:
    text = code(readme)
    missing = [name for name in main.list_commands(click.Context(main)) if name not in text]
    assert missing == []


def test_the_two_first_commands_come_first(readme: str) -> None:
    assert readme.index("make submission") < readme.index("make test")
    first = re.search(r"^```[a-z]*\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert first is not None
    assert "make submission" in first.group(1)


def test_tasks_and_recipes_that_it_names_exist(readme: str) -> None:
    text = code(readme)
    for name in re.findall(r"(?:TASK=|--task )([a-z0-9][\w.-]*)", text):
        assert name in list_tasks() or name.endswith(".toml") or name.startswith("my"), name
    for name in re.findall(r"(?:RECIPE=|--recipe )([a-z0-9][\w.-]*)", text):
        assert name in list_recipes() or name.endswith(".toml"), name


def test_files_that_it_links_to_exist(readme: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", readme):
        assert (ROOT / link).exists(), link
