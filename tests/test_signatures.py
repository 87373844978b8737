"""Functions take at most seven parameters, but for click's callbacks and dataclasses."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "semeval_kit"
_MOST = 7


def offenders(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if any("click." in ast.unparse(decorator) for decorator in node.decorator_list):
            continue
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(argument.arg not in ("self", "cls") for argument in given)
        if count > _MOST:
            found.append(f"{node.name} ({count})")
    return found


def test_functions_take_at_most_seven_parameters() -> None:
    wrong = {
        path.relative_to(PACKAGE).as_posix(): names
        for path in sorted(PACKAGE.rglob("*.py"))
        if (names := offenders(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert wrong == {}


def test_eight_are_too_many_but_for_a_command() -> None:
    many = ", ".join(f"p{number}" for number in range(8))
    assert offenders(ast.parse(f"def f(self, {many}): ...")) == ["f (8)"]
    assert offenders(ast.parse(f"@click.command()\ndef f({many}): ...")) == []
    assert offenders(ast.parse(f"def f(self, *, {many[4:]}): ...")) == []
