"""No file of a run is used in silence when it is not what was written."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from semeval_kit.run import stages

pytestmark = pytest.mark.trains


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tests/benchmarks/inject_faults.py, which runs by itself for thousands of faults."""
    path = Path(__file__).parents[1] / "benchmarks" / "inject_faults.py"
    spec = importlib.util.spec_from_file_location("inject_faults", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(stages, "run_folds", stages.run_folds)  # put back afterwards
    return module


@pytest.mark.usefixtures("in_process")
def test_faults_are_refused_or_harmless(
    faults: ModuleType, trained_run: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    tell: Callable[[str], None] = said.append
    tally, bad = faults.inject_faults(trained_run, tmp_path, 20, 1, tell)
    assert bad == []
    assert set(tally) <= {"refused", "harmless"}
    assert tally["refused"] > 10
