"""The stages of a run, in order: prepare, train, predict, tune, pack, score.

Each stage reads what the ones before it wrote, skips what is finished, and can be called again.
"""

from semeval_kit.run.compute import predict, train
from semeval_kit.run.decide import decode_split, pack, score, spell_soft_labels
from semeval_kit.run.judge import oof_examples, tune
from semeval_kit.run.plan import SPLITS, Engine, Plan, Say
from semeval_kit.run.prepare import move_run, prepare, require_same_data
from semeval_kit.run.whole import present, run_all, run_each_language

__all__ = [
    "SPLITS",
    "Engine",
    "Plan",
    "Say",
    "decode_split",
    "move_run",
    "oof_examples",
    "pack",
    "predict",
    "prepare",
    "present",
    "require_same_data",
    "run_all",
    "run_each_language",
    "score",
    "spell_soft_labels",
    "train",
    "tune",
]
