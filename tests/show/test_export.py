"""The folder that `export` makes: a mean head folded into a layer, or laid beside the encoder."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from semeval_kit.errors import KitError
from semeval_kit.run.directory import Run
from semeval_kit.show.card import is_exportable, python_snippet
from semeval_kit.show.export import _lay_model, export_model
from semeval_kit.show.folded_head import can_fold, choose_layout, fold_mean_head
from semeval_kit.training.encoder import load_classifier, load_model
from semeval_kit.training.head import Classifier
from semeval_kit.training.recipe import make_recipe
from semeval_kit.training.targets import Target, Targets

FOLDED = (
    "bert",
    "roberta",
    "distilbert",
    "deberta",
    "deberta-v2",
    "electra",
    "xlm-roberta",
)
NAMES = ("anger", "fear", "joy", "sadness", "surprise")
TARGETS = Targets((Target("multilabel", NAMES),))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    mask = torch.ones(4, 20, dtype=torch.long)
    for row, length in enumerate((20, 7, 15, 1)):
        mask[row, length:] = 0
    ids = torch.randint(5, 60, (4, 20), generator=draw)
    return {"input_ids": ids, "attention_mask": mask}


def load(folder: Path, loudness: float = 0.4, targets: Targets = TARGETS) -> Classifier:
    torch.manual_seed(3)
    model = load_classifier(make_recipe({"encoder": str(folder)}, "a test"), targets).eval()
    with torch.no_grad():
        model.head.weight.normal_(std=loudness)
        model.head.bias.normal_(std=0.1)
    return model


@pytest.mark.parametrize("family", FOLDED)
@torch.no_grad()
def test_a_folded_model_gives_the_head_of_the_mean(
    family: str,
    tiny_encoder: Callable[[str], Path],
    batch: dict[str, torch.Tensor],
    tmp_path: Path,
) -> None:
    model = load(tiny_encoder(family))
    batch["input_ids"][batch["attention_mask"] == 0] = model.network.config.pad_token_id or 0
    expected = model(**batch)
    assert expected.abs().max() > 1
    fold_mean_head(model).save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    assert again.config.problem_type == "multi_label_classification"
    assert tuple(again.config.id2label.values()) == NAMES
    assert (again.eval()(**batch).logits - expected).abs().max() < 1e-4
    if family == "deberta":  # transformers' own code for it does not compute in bf16
        return
    half = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert (half.eval()(**batch).logits.sigmoid() - expected.sigmoid()).abs().max() < 0.02


@torch.no_grad()
def test_large_logits_come_through(tiny_bert: Path, batch: dict[str, torch.Tensor]) -> None:
    model = load(tiny_bert, loudness=2.4)
    expected = model(**batch)
    assert expected.abs().max() > 10
    found = fold_mean_head(model)(**batch).logits
    # What is lost grows with the cube of the logit, far out where probabilities are 0 or 1.
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max() ** 2
    assert (found.sigmoid() - expected.sigmoid()).abs().max() < 1e-4


def test_what_can_be_folded(tiny_encoder: Callable[[str], Path]) -> None:
    bert = load(tiny_encoder("bert")).network.config
    assert can_fold(bert, 15)  # 2 * 15 + 2 spare dimensions are its 32
    assert not can_fold(bert, 16)
    assert can_fold(bert.to_dict(), 15)
    for family in ("albert", "mpnet"):
        assert not can_fold(load(tiny_encoder(family)).network.config, 3)


@pytest.mark.parametrize("family", ["albert", "mpnet", "bert"])
def test_a_head_that_cannot_be_folded_lies_beside_the_encoder(
    family: str, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    """As sentence-transformers lays it out; the snippet needs transformers alone."""
    names = NAMES if family != "bert" else tuple(f"event {number}" for number in range(18))
    targets = Targets((Target("multilabel", names),))
    source, folder = tmp_path / "source", tmp_path / "exported"
    shutil.copytree(tiny_encoder(family), source)
    folder.mkdir()
    model = load(tiny_encoder(family), targets=targets)
    model.save(source)
    assert choose_layout(source) == ("encoder-and-head", True)
    _lay_model(source, folder)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "config.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Dense"]
    task = SimpleNamespace(kind="multilabel")
    run = SimpleNamespace(task=task, languages=["eng"], recipe={"max_length": 48})
    code = python_snippet(
        run, SimpleNamespace(intensity=None, offsets=None, values={}), "encoder-and-head"
    )
    code = code[: code.index("thresholds = ")].replace('folder = "."', f"folder = {str(folder)!r}")
    scope: dict[str, object] = {}
    exec(code, scope)
    (text,) = re.findall(r"tokenizer\(\[(.*)\], truncation", code)
    ids = torch.tensor([scope["tokenizer"](json.loads(text), truncation=True)["input_ids"]])
    expected = load_model(source)(ids, torch.ones_like(ids)).sigmoid()[0].tolist()
    assert tuple(scope["scores"]) == names
    assert list(scope["scores"].values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"pairs": "apart"}, "the two texts of a pair apart"), ({"pooling": "layers"}, "two layers")],
)
def test_what_a_pipeline_cannot_read_is_refused(
    fields: dict[str, str], told: str, tiny_bert: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "exported"
    shutil.copytree(tiny_bert, source)
    target.mkdir()
    recipe = make_recipe({"encoder": str(tiny_bert), **fields}, "a test")
    load_classifier(recipe, TARGETS).save(source)
    with pytest.raises(KitError, match=f"reads {told}.*, which `pipeline\\(\\)` cannot"):
        _lay_model(source, target)
    folds = SimpleNamespace(kind="multilabel", targets=("one",))
    run = SimpleNamespace(task=folds, member="encoder", recipe=fields)
    assert not is_exportable(run)
    assert is_exportable(SimpleNamespace(task=folds, member="encoder", recipe={}))


WITHOUT_THE_KIT = """
import json, sys
from transformers import pipeline
folder, texts, answers = sys.argv[1:]
ask = pipeline("text-classification", model=folder, top_k=None)
found = ask(json.load(open(texts, encoding="utf-8")), batch_size=5)
assert not [name for name in sys.modules if name.startswith("semeval_kit")]
json.dump(found, open(answers, "w", encoding="utf-8"))
"""


@pytest.mark.slow
def test_the_pipeline_of_transformers_gives_the_out_of_fold_probabilities(
    trained_run: Path, tmp_path: Path
) -> None:
    run = Run.open(trained_run)
    with run.oof_file(0).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    examples = run.read_train()
    texts = dict(zip(examples.ids, examples.texts, strict=True))
    asked, answers = tmp_path / "texts.json", tmp_path / "answers.json"
    folder = export_model(run, tmp_path / "model", fold=0)
    asked.write_text(json.dumps([texts[row["id"]] for row in rows]), encoding="utf-8")
    # A bare interpreter in another folder: nothing of the kit is on its path but by installation.
    command = [sys.executable, "-c", WITHOUT_THE_KIT, str(folder), asked, answers]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, timeout=120)
    found = json.loads(answers.read_text(encoding="utf-8"))
    assert len(found) == len(rows) > 20
    worst = 0.0
    for row, answer in zip(rows, found, strict=True):
        scores = {item["label"]: item["score"] for item in answer}
        assert set(scores) == set(run.task.all_labels)
        worst = max(worst, *(abs(scores[name] - float(row[name])) for name in scores))
    assert worst < 1e-4


def test_a_task_of_numbers_is_not_exported(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(tmp_path / "made", kind="regression")
    with pytest.raises(KitError, match="its task asks for numbers.*predict` with the run instead"):
        export_model(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
