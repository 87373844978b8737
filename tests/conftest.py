"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

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
