"""From SemEval CSV files to a zip that Codabench accepts, with the score known beforehand.

What a notebook needs is imported when it is first used, so that `import semeval_kit` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semeval_kit.data.examples import read_examples
    from semeval_kit.decision.oof import OofRows
    from semeval_kit.decision.thresholds import tune_thresholds
    from semeval_kit.errors import KitError
    from semeval_kit.show.opened import open_run
    from semeval_kit.submission.score import score_submission
    from semeval_kit.task.task import load_task

__version__ = "0.1.0"
__all__ = [
    "KitError",
    "OofRows",
    "load_task",
    "open_run",
    "read_examples",
    "score_submission",
    "tune_thresholds",
]
_PLACES = {
    "KitError": "errors",
    "OofRows": "decision.oof",
    "load_task": "task.task",
    "open_run": "show.opened",
    "read_examples": "data.examples",
    "score_submission": "submission.score",
    "tune_thresholds": "decision.thresholds",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'semeval_kit' has no attribute '{name}'")
    return getattr(import_module(f"semeval_kit.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
