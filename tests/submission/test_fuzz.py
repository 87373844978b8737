"""Random and damaged zips: never a crash, and scored as what unpacking leaves."""

from __future__ import annotations

import importlib.util
import io
import random
import struct
import zipfile
from pathlib import Path

import pytest

from semeval_kit.data.reference import find_references
from semeval_kit.errors import KitError
from semeval_kit.submission.archive import read_zip
from semeval_kit.submission.score import score_submission
from semeval_kit.submission.validate import validate_submission

HEADER = "id,anger,fear,joy\n"
IDS = [f"eng_test_track_a_{i}" for i in (1, 2, 3)]
RIGHT = HEADER + f"{IDS[0]},1,0,0\n{IDS[1]},0,1,1\n{IDS[2]},0,0,1\n"
NAMES = [
    "track_a/pred_eng.csv", "pred_eng.csv", "./track_a/pred_eng.csv", "track_a//pred_eng.csv",
    "a/./pred_eng.csv", "pred_deu.csv", "pred_ENG.csv", "eng.csv", "._pred_eng.csv", ".DS_Store",
    "__MACOSX/._pred_eng.csv", "track_a/", "./", ".", "pred_eng.csv/x", "pred_\u00e9.csv", " ",
    "x" * 300,
    "../pred_eng.csv", "/pred_eng.csv", "a\\pred_eng.csv", "pred_.csv", "pred_eng.csv/",
]  # fmt: skip
PIECES = ["0", "1", "2", ",", "\n", "\r", '"', "", " ", "\ufeff", "x", "\x00", IDS[0], HEADER]


def make_text(rng: random.Random) -> bytes:
    text = RIGHT
    for _ in range(rng.choice([0, 0, 1, 3])):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(PIECES) + text[at + rng.choice([0, 0, 1, 5]) :]
    return text.encode("utf-8")


def make_zip_bytes(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice([0, 8])) as archive:
        for name in rng.sample(NAMES, rng.choice([1, 1, 2, 3])):
            archive.writestr(zipfile.ZipInfo(name), b"" if name.endswith("/") else make_text(rng))
    return buffer.getvalue()


def damage(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, double or overwrite, most often in headers and the directory."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        marks = [i for i in range(len(changed)) if changed[i : i + 2] == b"PK"] or [0]
        at = min(rng.choice(marks) + rng.randrange(46), len(changed) - 1)
        at = rng.choice([at, rng.randrange(len(changed))])
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 4] = struct.pack("<L", rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF]))
        elif kind == 2:
            del changed[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.randrange(1, 60)]
        else:
            changed[at : at + 2] = bytes(rng.randrange(256) for _ in range(2))
        if not changed:
            return b""
    return bytes(changed)


def unpack(data: bytes, folder) -> bool:
    """Unpack as the site does; whether that went well."""
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(folder)
    except Exception:
        return False
    return True


def answer(task, place, gold):
    try:
        score = score_submission(task, place, gold)
    except KitError:
        return None
    return score.accepted, score.scores, score.message


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_random_zips_are_scored_as_what_unpacking_leaves(task, gold, tmp_path):
    references = find_references(task, gold)
    rng, compared = random.Random(11), 0
    path = tmp_path / "x.zip"
    for i in range(400):
        data = make_zip_bytes(rng)
        path.write_bytes(data)
        mine = answer(task, path, references)
        validate_submission(task, path, references)
        contents = read_zip(data, "x.zip")
        if unpack(data, tmp_path / str(i)) and not contents.hazards:
            theirs = answer(task, tmp_path / str(i), references)
            assert mine == theirs, contents
            compared += 1
    assert compared > 200


def test_damaged_zips_never_crash_and_never_differ_from_unpacking(task, gold, tmp_path):
    references = find_references(task, gold)
    rng, compared = random.Random(12), 0
    path = tmp_path / "x.zip"
    for i in range(600):
        data = damage(rng, make_zip_bytes(rng))
        path.write_bytes(data)
        mine = answer(task, path, references)
        validate_submission(task, path, references)
        if mine is not None and unpack(data, tmp_path / str(i)):
            assert mine == answer(task, tmp_path / str(i), references)
            compared += 1
    assert compared > 50


def test_recorded_submissions_in_zips_of_every_shape_are_answered_as_recorded(tmp_path):
    """A short run of tests/benchmarks/fuzz_zips.py, which tells what it does."""
    path = Path(__file__).parents[1] / "benchmarks" / "fuzz_zips.py"
    spec = importlib.util.spec_from_file_location("fuzz_zips", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tally, bad = module.fuzz_zips(module.SAMPLE, tmp_path, 300, 1)
    assert bad == []
    assert tally["whole: scored"] > 20
    assert tally["damaged bytes: refused"] > 50
