"""The notebook, cell by cell as a user meets them, in an environment of its own."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = json.loads((ROOT / "notebooks" / "semeval_kit.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "code"]
MODULES = {"metadata": metadata, "sys": sys}
# Runs the cells that it reads, each with the names of those before it, and shows the last values.
RUNNER = """
import ast, json, sys
names = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1])), start=1):
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        print("shown:", getattr(value, "_repr_html_", lambda: repr(value))())
"""


def set_name(cells: list[str], name: str, value: str) -> list[str]:
    """Give a setting another value, as a user would."""
    lines = [line for cell in cells for line in cell.split("\n")]
    (line,) = [line for line in lines if line.startswith(f"{name} = ")]
    return [cell.replace(line, f"{name} = {value}") for cell in cells]


def test_the_notebook_is_one_without_outputs() -> None:
    assert NOTEBOOK["nbformat"] == 4
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(not c.get("outputs") and not c.get("execution_count") for c in NOTEBOOK["cells"])


def test_an_interrupted_cell_ends_its_command_and_waits_for_it(tmp_path: Path) -> None:
    """Else the same cell would meet a process that is at work on the run."""
    (cell,) = [cell for cell in CELLS if "def call(" in cell]
    tree = ast.parse(cell)
    (call,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    ended = tmp_path / "ended"
    child = "import signal, sys, time\n"
    child += f"signal.signal(15, lambda *_: (open({str(ended)!r}, 'w').close(), sys.exit()))\n"
    child += "signal.signal(2, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"
    source = "import signal, subprocess, sys\n"
    source += (
        "signal.signal(2, signal.default_int_handler)\n"  # which a shell may have switched off
    )
    source += ast.unparse(call).replace("end=''", "end='', flush=True")
    notebook = subprocess.Popen(
        [sys.executable, "-c", f"{source}\ncall(sys.executable, '-c', {child!r})"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert notebook.stdout is not None
    assert notebook.stdout.readline() == "up\n"
    notebook.send_signal(signal.SIGINT)
    _, told = notebook.communicate(timeout=60)
    assert told.strip().endswith("KeyboardInterrupt")
    assert ended.is_file()


@pytest.mark.parametrize(("numpy", "is_kept"), [("1.26.4", 0), ("2.0.2", 0), ("2.1.0", 1)])
def test_a_numpy_that_is_too_old_is_not_kept(
    numpy: str, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip would refuse to install the kit beside it."""
    requires = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"numpy>=2.1"' in requires
    (cell,) = [cell for cell in CELLS if "def call(" in cell]
    here = [("torch", "2.12.0+cu130"), ("numpy", numpy), ("scipy", "1.16.3")]
    machine = [SimpleNamespace(metadata={"Name": n}, version=version) for n, version in here]
    monkeypatch.setattr(metadata, "distributions", lambda: machine)
    called: list[Any] = []
    install = cell[cell.index("installed = ") :]
    exec(
        install, {"WORK": tmp_path, "SOURCE": "kit", "call": lambda *w: called.append(w)} | MODULES
    )
    lines = (tmp_path / "keep.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["torch==2.12.0+cu130"] + [f"numpy=={numpy}"] * is_kept
    assert "kit[analysis,explain,encoders]" in called[0]


@pytest.mark.slow
def test_cells_install_train_go_on_and_end_with_the_zip(
    fresh_environment: Callable[[], Path],
    wheel: Path,
    tiny_encoder: Callable[[str], Path],
    demo_flags: tuple[str, ...],
    tmp_path: Path,
) -> None:
    python = fresh_environment() / "python"
    cells = set_name(CELLS, "SOURCE", repr(str(wheel)))
    cells = set_name(cells, "MODEL", repr(str(tiny_encoder("bert"))))
    cells = set_name(cells, "FLAGS", repr([*demo_flags, "--no-report"]))
    (tmp_path / "cells.json").write_text(json.dumps(cells))

    def run_cells() -> str:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KAGGLE")}
        done = subprocess.run(
            [python, "-c", RUNNER, "cells.json"],
            cwd=tmp_path,
            env={**environment, "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run_cells()
    run = tmp_path / "semeval" / "submissions" / "demo-notebook"
    assert "expect this" in said
    assert "Expected macro-F1" in said
    assert zipfile.ZipFile(run / "demo-notebook.zip").namelist() == ["track_a/pred_eng.csv"]
    kept = (tmp_path / "semeval" / "keep.txt").read_text()
    assert "torch==" in kept
    # A lost session: the zip and one fold are gone, the other fold is not trained again.
    first, second = (run / f"fold-{fold}" / "done.json" for fold in (0, 1))
    before = first.stat().st_mtime_ns
    second.unlink()
    (run / "demo-notebook.zip").unlink()
    run_cells()
    assert first.stat().st_mtime_ns == before
    assert (run / "demo-notebook.zip").is_file()
