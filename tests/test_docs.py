"""README and docs name commands, options, files and keys that exist, and every command there is."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from semeval_kit.cli import main
from semeval_kit.task.task import list_tasks
from semeval_kit.training.recipe import list_recipes

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WRITTEN = ("task-file.md", "recipe-fields.md", "commands.md", "metrics.md")
BY_HAND = [page for page in PAGES if page.name not in WRITTEN]


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> list[str]:
    """Lines of shell blocks and inline code, with continued lines joined."""
    blocks = "\n".join(fenced(text, "sh")).replace("\\\n", " ")
    return [*blocks.splitlines(), *re.findall(r"`([^`\n]+)`", text)]


def kit_calls(text: str) -> list[list[str]]:
    """The words after `semeval-kit` of every call, without comments, pipes and redirections."""
    calls = []
    for line in shell_lines(text):
        words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 else line.split()
        for place, word in enumerate(words):
            # Not the name of the package in `pip install semeval-kit[...]`.
            if word == "semeval-kit" and words[:place][-1:] != ["install"]:
                rest = words[place + 1 :]
                ends = [n for n, w in enumerate(rest) if w in {"|", ">", "&&", ";"}]
                calls.append(rest[: min(ends, default=len(rest))])
    return [call for call in calls if call and call[0].islower()]


CALLS = [(name(page), call) for page in BY_HAND for call in kit_calls(read(page))]


@pytest.mark.parametrize(("page", "call"), CALLS, ids=[f"{p}: {' '.join(c)}" for p, c in CALLS])
def test_every_command_is_read_by_the_command_line(page: str, call: list[str]) -> None:
    command: click.Command = main
    words, context = list(call), click.Context(main, info_name="semeval-kit")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:  # `tasks NAME` is read as `tasks show NAME`
            found = command.get_command(context, "show")
        else:
            words.pop(0)
        assert found is not None, f"no command {words[0]}"
        command = found
        context = click.Context(command, parent=context, info_name=words[0] if words else "")
    if not any(param.nargs == -1 and param.type is click.UNPROCESSED for param in command.params):
        # Options must exist and have a value; a choice must be one of the choices.
        values, _, _ = command.make_parser(context).parse_args(words)
        for param in command.params:
            if isinstance(param.type, click.Choice) and isinstance(values.get(param.name), str):
                param.type.convert(values[param.name], param, context)


def test_there_are_calls_to_read() -> None:
    assert len(CALLS) > 40


def test_every_command_is_in_the_readme() -> None:
    words = set(re.findall(r"`([a-z-]+)`|semeval-kit ([a-z-]+)", read(ROOT / "README.md")))
    named = {word for pair in words for word in pair}
    missing = [c for c in main.list_commands(click.Context(main)) if c not in named]
    assert missing == []


def test_the_readme_is_one_screen_to_a_result() -> None:
    text = read(ROOT / "README.md")
    assert len(text.split()) <= 900
    first = fenced(text, "sh")[0]
    assert first.index("make submission") < first.index("make test")


@pytest.mark.parametrize("page", BY_HAND, ids=name)
def test_targets_tasks_and_recipes_that_are_named_exist(page: Path) -> None:
    text = "\n".join(shell_lines(read(page)))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"^(?:\$ )?make ([a-z][a-z-]*)", text, flags=re.MULTILINE)) <= targets
    for task in re.findall(r"(?:TASK=|--task )([a-z0-9][\w.-]*)", text):
        assert task in list_tasks() or task.endswith(".toml"), task
    for recipe in re.findall(r"(?:RECIPE=|--recipe )([a-z0-9][\w.-]*)", text):
        assert recipe in list_recipes() or recipe.endswith(".toml"), recipe


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", read(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        if page.parent.name == "docs":  # the site holds this folder alone
            assert target.parent == page.parent, link
        if anchor and target.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", read(target), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor[1:] in slugs, anchor


def test_keys_of_task_files_that_are_named_exist(reference: ModuleType) -> None:
    keys = {"targets", "rules"}
    for section, model in reference._list_sections():
        place = section.strip("[]").split(".")[0]
        keys |= {f"{place}.{key}" for key in model.model_fields} | set(model.model_fields)
    keys |= set(reference.Task.model_fields)
    table = read(ROOT / "docs" / "tasks.md").split("| question | key |")[1].split("\n\n")[0]
    named = [key for key in re.findall(r"`([a-z_.]+)`", table)]
    assert len(named) > 12
    assert set(named) <= keys


def test_every_page_is_in_the_site_s_menu() -> None:
    menu = set(re.findall(r"([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert menu == {page.name for page in (ROOT / "docs").glob("*.md")}


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """docs/reference.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(reference: ModuleType) -> dict[str, str]:
    """What docs/reference.py would write."""
    rendered: dict[str, str] = reference.render_pages()
    return rendered


@pytest.mark.parametrize("page", WRITTEN)
def test_reference_pages_are_what_the_code_says(pages: dict[str, str], page: str) -> None:
    assert read(ROOT / "docs" / page) == pages[page], "run `python docs/reference.py` and commit"


def test_reference_names_every_key_option_and_field(pages: dict[str, str]) -> None:
    assert '| `id_column` | text | `"id"` |' in pages["task-file.md"]
    assert "| `max_length` | number | `128` |" in pages["recipe-fields.md"]
    assert "### `semeval-kit data check" in pages["commands.md"]
    assert "`--max-evals`" in pages["commands.md"]


@pytest.fixture
def workplace(demo_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the examples expect it: the demo data, and a finished run of it."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    folder = tmp_path / "submissions" / "demo_eng_embedded_demo"
    shutil.copytree(demo_run, folder)
    (folder / "demo.zip").rename(folder / f"{folder.name}.zip")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_in_python_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for page in BY_HAND:
        names: dict[str, object] = {}
        for block in fenced(read(page), "python"):
            exec(compile(block, name(page), "exec"), names)  # noqa: S102
    assert "avg_macro_f1" in capsys.readouterr().out


def test_the_site_is_built_where_its_tool_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed (make docs)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "training" / "index.html").is_file()
