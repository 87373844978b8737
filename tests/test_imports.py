"""Imports go one way, light rooms stay light, and nothing is unpickled."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "semeval_kit"
HEAVY = (
    *("torch", "transformers", "accelerate", "datasets", "sklearn", "scipy", "pandas"),
    *("matplotlib", "jinja2"),
)
LIGHT = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for room in ("task", "data", "submission", "decision")
    for path in (PACKAGE / room).glob("*.py")
)
LIGHT += [
    f"semeval_kit.{name}"
    for name in (
        *("run.directory", "run.stages", "training.worker", "probs", "files", "errors"),
        *("cli.competition", "cli.show", "cli.summary", "show.figures.charts"),
    )
]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_the_contracts_hold() -> None:
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    lint = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    found = subprocess.run(
        [sys.executable, "-c", lint],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


def test_light_rooms_start_without_heavy_packages() -> None:
    script = (
        "import importlib, sys\n"
        f"for name in {LIGHT!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip() == "[]", found.stderr


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_unpickled_and_no_foreign_code_is_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unsafe = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert imported(tree) & unsafe == set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "print"}
            for keyword in node.keywords:
                if keyword.arg in ("trust_remote_code", "allow_pickle", "shell"):
                    assert isinstance(keyword.value, ast.Constant)
                    assert keyword.value.value is False


@pytest.mark.parametrize("room", ["task", "data", "submission", "decision"])
def test_light_rooms_do_not_even_name_torch(room: str) -> None:
    for path in (PACKAGE / room).glob("*.py"):
        names = imported(ast.parse(path.read_text(encoding="utf-8")))
        assert names & {"torch", "transformers", "accelerate"} == set(), path
