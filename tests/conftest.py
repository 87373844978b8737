"""Fixtures shared by all tests."""

from __future__ import annotations

import csv
import gc
import importlib.util
import io
import json
import os
import random
import re
import subprocess
import sys
import sysconfig
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from semeval_kit.files import hold_lock
from semeval_kit.task.task import Task, load_task

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED = Path(os.environ.get("SEMEVAL_KIT_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder that holds the organisers' data of several tasks, where it is on this machine."""
    return SHARED / "data"


# What a test asks for that trains or loads an encoder; `make test-fast` leaves it out.
_TRAINING = {
    *("trained_run", "in_process", "tiny_bert", "tiny_encoder", "family", "make_plan"),
    *("with_models", "exported", "published"),
}

# Modules of which no test is quick: they import torch, or say so of all their tests.
_NONE_QUICK = re.compile(
    r"^(import|from) (torch|semeval_kit\.training\.fold)\b|^pytestmark = .*(trains|slow)\b",
    re.MULTILINE,
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave modules without a quick test unread where only these are wanted: reading is slow."""
    only_quick = config.getoption("markexpr") == "not trains and not slow"
    if not only_quick or collection_path.suffix != ".py":
        return None
    return True if _NONE_QUICK.search(collection_path.read_text(encoding="utf-8")) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that train by what they ask for; a browser or all languages are slow."""
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if _TRAINING & asked or "torch" in getattr(item.module, "__dict__", {}):
            item.add_marker(pytest.mark.trains)
        if {"browser", "official_data"} & asked:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Take what is loaded by now out of the garbage collector's rounds: a tenth of all CPU time."""
    gc.collect()
    gc.freeze()


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


FAMILIES = (
    "bert",
    "roberta",
    "distilbert",
    "deberta",
    "deberta-v2",
    "electra",
    "albert",
    "mpnet",
    "xlm-roberta",
    "modernbert",
)
TINY_TASK = "semeval2025-task11-a"
TINY_RECIPE = {
    "folds": 2,
    "epochs": 2,
    "batch_size": 8,
    "lr": 5e-3,
    "head_lr": 2e-2,
    "precision": "fp32",
    "freeze_embeddings": False,
}
TRIGGERS = {
    "anger": ("grumo", "fristo", "rakka"),
    "disgust": ("yucho", "blefa", "slimor"),
    "fear": ("tremba", "quivo", "skarra"),
    "joy": ("wondi", "lirela", "hapsu"),
    "sadness": ("mourno", "tearil", "glooma"),
    "surprise": ("zappo", "whosha", "gaspi"),
}
TINY_LABELS = {"eng": [name for name in TRIGGERS if name != "disgust"], "deu": list(TRIGGERS)}
TINY_SIZES = {"train": 32, "dev": 10, "test": 12}
FILLERS = tuple(f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me", "no") for b in ("ra", "si", "tu"))


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a folder once per test run, however many processes pytest-xdist starts."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent

    def build(name: str, make: Callable[[Path], object]) -> Path:
        lock = base / f"{name}.lock"
        lock.mkdir(exist_ok=True)
        with hold_lock(lock, seconds=600):
            folder = base / name
            finished = lock / "finished"
            if not finished.exists():
                folder.mkdir()
                make(folder)
                finished.touch()
        return folder

    return build


@pytest.fixture(scope="session")
def tiny_data(build_once: Callable[..., Path]) -> Path:
    """Made-up data in the layout of Track A: eng (no disgust) and deu, with gold in gold/.

    A text has trigger words of its labels among fillers, so that tiny encoders can learn it.
    """
    return build_once("tiny-data", write_tiny_data)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Every family of encoders that `tiny_encoder` can make, one after the other."""
    return str(request.param)


@pytest.fixture(scope="session")
def tiny_encoder(build_once: Callable[..., Path]) -> Callable[[str], Path]:
    """Give the folder of an untrained encoder of a family: 2 layers, 32 wide, 2 heads."""

    def give(family: str) -> Path:
        return build_once(f"tiny-{family}", lambda folder: save_tiny_encoder(folder, family))

    return give


@pytest.fixture(scope="session")
def tiny_bert(tiny_encoder: Callable[[str], Path]) -> Path:
    """The folder of the tiny BERT."""
    return tiny_encoder("bert")


@pytest.fixture(scope="session")
def make_plan(tiny_data: Path, tiny_bert: Path) -> Callable[..., Any]:
    """Make a plan over the tiny data and encoder; keywords override the recipe."""

    def make(
        languages: Sequence[str] = ("eng", "deu"),
        *,
        task: str = TINY_TASK,
        data: Path | None = None,
        train_languages: Sequence[str] = (),
        train_splits: Sequence[str] = ("train",),
        **fields: Any,
    ) -> Any:
        from semeval_kit.run.stages import Plan
        from semeval_kit.training.recipe import make_recipe

        recipe = {"encoder": str(tiny_bert), **TINY_RECIPE, **fields}
        return Plan(
            task=task,
            data=data or tiny_data,
            languages=tuple(languages),
            config=make_recipe(recipe, "a test"),
            train_languages=tuple(train_languages),
            train_splits=tuple(train_splits),
        )

    return make


@pytest.fixture(scope="session")
def trained_run(
    build_once: Callable[..., Path], make_plan: Callable[..., Any], tiny_data: Path
) -> Path:
    """A finished run in both languages, two folds, made by real processes. Do not change it."""
    from semeval_kit.run.stages import Engine, run_all

    def make(folder: Path) -> None:
        said: list[str] = []
        run_all(
            folder / "tiny",
            make_plan(),
            Engine(jobs=2, threads=1),
            tiny_data / "gold",
            said.append,
        )
        (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")

    return build_once("tiny-run", make) / "tiny"


@pytest.fixture(scope="session")
def wheel(build_once: Callable[..., Path]) -> Path:
    """The wheel of this checkout."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True)

    (path,) = build_once("wheel", make).glob("*.whl")
    return path


@pytest.fixture(scope="session")
def fresh_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes an environment without the kit that borrows what it needs; gives its scripts."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("fresh") / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = folder.glob("lib/**/site-packages")
        (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        return folder / "bin"

    return make


DEMO_FLAGS = ("--folds", "2", "--epochs", "1", "--max-length", "16", "--threads", "1")


@pytest.fixture(scope="session")
def demo_flags() -> tuple[str, ...]:
    """Flags that make the demo take seconds."""
    return DEMO_FLAGS


@pytest.fixture(scope="session")
def demo_run(build_once: Callable[..., Path], tiny_encoder: Callable[[str], Path]) -> Path:
    """A finished run of the demo data by a tiny encoder, two folds. Do not change it."""
    from click.testing import CliRunner

    from semeval_kit.cli import main

    def make(folder: Path) -> None:
        flags = ["--model", str(tiny_encoder("bert")), "--submissions", str(folder), *DEMO_FLAGS]
        done = CliRunner().invoke(main, ["demo", "--run", "demo", "--no-report", *flags])
        assert done.exit_code == 0, done.output

    return build_once("demo-run", make) / "demo"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Let the pipeline train and predict in this process, which saves starting others.

    Gives the list that events are added to.
    """
    import torch

    from semeval_kit.run import stages
    from semeval_kit.training.worker import do_job

    events: list[dict[str, Any]] = []

    def run_here(run: Any, _: Any, **given: Any) -> None:
        for fold in given.get("train", ()):
            do_job("train", run, fold, (), events.append)
        for fold in given.get("predict", ()):
            do_job("predict", run, fold, given["splits"], events.append)

    monkeypatch.setattr(stages, "run_folds", run_here)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield events
    torch.set_num_threads(threads)


@pytest.fixture
def die_at_rename() -> Callable[[Callable[[], object], int], bool]:
    """Do something in a process that ends without a word instead of its n-th rename.

    So it does what a SIGKILL does at its worst moments: all of a file is written under another
    name, and what is noted of it says something else than what is there. Tells whether it ended so.
    """

    def attempt(work: Callable[[], object], number: int) -> bool:
        pid = os.fork()
        if pid == 0:
            renames, replace = iter(range(number)), os.replace

            def rename(source: Any, target: Any) -> None:
                if next(renames, None) is None:
                    os._exit(99)
                replace(source, target)

            os.replace = rename
            try:
                work()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, 99)
        return code == 99

    return attempt


def write_tiny_data(folder: Path, sizes: Mapping[str, int] | None = None) -> None:
    """Write the tiny data set into a folder."""
    draw = random.Random("tiny")
    for language, labels in TINY_LABELS.items():
        for split, size in (sizes or TINY_SIZES).items():
            rows = [_tiny_row(draw, labels) for _ in range(size)]
            ids = [f"{language}_{split}_track_a_{row:05d}" for row in range(1, size + 1)]
            shown = [
                [id_, text, *("" if split == "test" else flag for flag in flags)]
                for id_, (text, flags) in zip(ids, rows, strict=True)
            ]
            path = folder / "track_a" / split / f"{language}.csv"
            _write_csv(path, [["id", "text", *labels], *shown])
            if split == "test":
                gold = [[id_, *flags] for id_, (_, flags) in zip(ids, rows, strict=True)]
                _write_csv(folder / "gold" / f"{language}.csv", [["id", *labels], *gold])


def save_tiny_encoder(folder: Path, family: str, *, masked: bool = False, **overrides: Any) -> None:
    """Save an untrained encoder of a family with its tokenizer, and its head for masked tokens."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

    pad_id = 1 if family in ("roberta", "xlm-roberta", "mpnet") else 0
    vocabulary = _save_tokenizer(folder, pad_id)
    settings: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "pad_token_id": pad_id,
    }
    settings |= _FAMILY_SETTINGS.get(family, {})
    if family == "distilbert":
        settings = {
            "vocab_size": len(vocabulary),
            "dim": 32,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 48,
            "max_position_embeddings": 64,
        }
    torch.manual_seed(len(family))
    kind = AutoModelForMaskedLM if masked else AutoModel
    model = kind.from_config(AutoConfig.for_model(family, **settings | overrides))
    with torch.no_grad():  # wider than the usual start, so that tokens tell themselves apart
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)


_DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "max_relative_positions": -1,
    "type_vocab_size": 0,
}
_FAMILY_SETTINGS: dict[str, dict[str, Any]] = {
    "deberta": _DEBERTA,
    "deberta-v2": {
        **_DEBERTA,
        "share_att_key": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
    },
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "modernbert": {
        "global_attn_every_n_layers": 2,
        "local_attention": 16,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
}


def _save_tokenizer(folder: Path, pad_id: int) -> dict[str, int]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if pad_id:
        special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [word for group in TRIGGERS.values() for word in group]
    pieces = [*special, *words, *FILLERS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=48,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    return vocabulary


def _tiny_row(draw: random.Random, labels: Sequence[str]) -> tuple[str, list[int]]:
    flags = [int(draw.random() < 0.35) for _ in labels]
    words = [draw.choice(FILLERS) for _ in range(draw.randint(3, 9))]
    for label, flag in zip(labels, flags, strict=True):
        words += [draw.choice(TRIGGERS[label])] * flag
    draw.shuffle(words)
    return " ".join(words), flags


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


HEADER = "id,anger,fear,joy"
TASK = """
name = "made-up"
title = "A task for tests"
kind = "multilabel"
train_languages = ["eng", "deu"]
predict_languages = ["eng", "deu", "ron"]

[labels]
default = ["anger", "fear", "joy"]

[labels.by_language]
deu = ["anger", "joy"]

[data.files]
train = ["track_a/train/{lang}.csv", "train/{lang}.csv"]
dev = ["dev/{lang}.csv"]
test = ["test/{lang}.csv"]

[submission]
member = "track_a/pred_{lang}.csv"

[scoring]
metrics = ["macro_f1", "micro_f1"]
rules = "2026"
languages = ["eng", "deu", "ron"]
"""


@pytest.fixture
def task_text() -> str:
    """The text of a small task file."""
    return TASK


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Task]:
    """Write the small task file with replacements (old, new), and load it."""

    def write(*replacements: tuple[str, str], text: str = TASK) -> Task:
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "task.toml"
        path.write_text(text, encoding="utf-8")
        return load_task(path)

    return write


@pytest.fixture
def task(write_task: Callable[..., Task]) -> Task:
    """The small task: eng and ron with anger, fear, joy; deu without fear."""
    return write_task()


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[..., Path]:
    """Write a zip of {name: text or bytes}."""

    def make(members: Mapping[str, str | bytes], name: str = "submission.zip") -> Path:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        path = tmp_path / name
        path.write_bytes(buffer.getvalue())
        return path

    return make


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """A folder with gold labels of eng (3 rows) and deu (2 rows)."""
    folder = tmp_path / "gold"
    folder.mkdir()
    (folder / "eng.csv").write_text(f"{HEADER}\n{GOLD_ROWS}", encoding="utf-8")
    (folder / "deu.csv").write_text("id,anger,joy\ndeu_test_1,1,0\ndeu_test_2,0,1\n")
    return folder


GOLD_ROWS = "eng_test_track_a_1,1,0,0\neng_test_track_a_2,0,1,1\neng_test_track_a_3,0,0,1\n"
