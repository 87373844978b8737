"""The wheel, installed into a fresh environment and used outside the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, fresh_environment: Callable[[], Path]) -> Path:
    """The scripts of an environment that has the wheel."""
    scripts = fresh_environment()
    pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True)
    return scripts


def call(script: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        key: v for key, v in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    return subprocess.run(
        [script, *map(str, arguments)],
        cwd=cwd,
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_wheel_holds_all_that_is_no_code_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("semeval_kit", "data"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".pyo"):
                place = path.relative_to(ROOT).as_posix()
                assert place.replace("data/", "semeval_kit/demo_data/", 1) in names or (
                    folder == "semeval_kit" and place in names
                ), place
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"semeval_kit"}


def test_the_demo_makes_a_zip_outside_the_checkout(
    installed: Path, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    flags = ("--model", tiny_encoder("bert"), "--folds", 2, "--epochs", 1, "--run", "first")
    flags += ("--max-length", 16, "--no-report")
    done = call(installed / "semeval-kit", "demo", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "macro-F1" in done.stdout
    run = tmp_path / "submissions" / "first"
    members = zipfile.ZipFile(run / "first.zip").namelist()
    assert members == ["track_a/pred_eng.csv"]
    where = call(
        installed / "python", "-c", "import semeval_kit; print(semeval_kit.__file__)", cwd=tmp_path
    )
    assert str(installed.parent) in where.stdout
    data = call(
        installed / "python",
        "-c",
        "from semeval_kit.cli.data import find_demo_data as f; print(f())",
        cwd=tmp_path,
    )
    assert Path(data.stdout.strip()).is_relative_to(installed.parent)
    again = call(installed / "semeval-kit", "demo", *flags, cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_python_and_the_module_know_the_version(installed: Path, tmp_path: Path) -> None:
    shown = call(installed / "semeval-kit", "--version", cwd=tmp_path).stdout.strip()
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{shown.split()[-1]}"' in pyproject


def test_the_oldest_environment_has_the_lower_bounds() -> None:
    """Each `name>=1.2` of what a user installs is `name==1.2` there; torch is the machine's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    for extra in ("analysis", "explain", "encoders", "search", "cluster"):
        wanted += [text for text in extras[extra] if "python_version>=" not in text]
    bounds = [re.match(r"([\w-]+)[>=]=([\d.]+)", text).groups() for text in wanted]
    kept = [
        line.split("==")
        for line in (ROOT / ".constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    oldest = dict(kept)
    usual = (ROOT / ".constraints.txt").read_text(encoding="utf-8")
    assert f"\ntorch=={oldest.pop('torch')}\n" in usual
    assert {pair for pair in bounds if pair[0] != "torch"} <= set(oldest.items())
