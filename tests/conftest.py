"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED = Path(os.environ.get("SEMEVAL_KIT_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def official_data() -> Path:
    """The folder that holds track_a, track_b and track_c of SemEval-2025 Task 11."""
    folder = SHARED / "data" / "semeval2025-task11"
    if not folder.is_dir():
        pytest.skip("official SemEval-2025 Task 11 data is not on this machine")
    return folder


@pytest.fixture(scope="session")
def scorer_vectors() -> Path:
    """The folder with what the official scoring programs answered."""
    folder = SHARED / "data" / "scorer-vectors"
    if not folder.is_dir():
        pytest.skip("the recorded answers of the official scorer are not on this machine")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A running chromium, see browser.py: `browser.open(path, width=390, dark=True)`."""
    # Tests are no package, so their helper is loaded by its path.
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browser"] = module
    spec.loader.exec_module(module)
    if module.find_chromium() is None:
        pytest.skip("chromium is not on this machine (Debian: apt-get install chromium)")
    with module.Browser() as running:
        yield running
