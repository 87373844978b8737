"""Random and damaged zips of what the official program was asked: does anything crash or differ?

    python tests/benchmarks/fuzz_zips.py [VECTORS] --zips 10000 --seed 0

VECTORS is a folder of track_a.json, track_b.json and track_c.json: submissions, and what the
official scoring program answered; without it, the sample in tests/submission/vectors is taken. Each
zip holds one of them, its files in a place that the program looks into. A third is left so: it must
be given the recorded answer. In a third the texts are changed, in a third the bytes of the zip:
what can be unpacked must be scored as the folder is that it is unpacked to. None may crash, and
none that is scored with 0 may be validated as right.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from semeval_kit.data.reference import Place, find_references
from semeval_kit.errors import KitError
from semeval_kit.submission.score import score_submission
from semeval_kit.submission.validate import validate_submission
from semeval_kit.task.task import Task, load_task

FOLDERS = ("", "track_a/", "track_b/", "./", "./track_c/", "a//b/", "a/./b/", "x/y/z/", "Ä/")
BESIDE = ("__MACOSX/._pred_eng.csv", ".DS_Store", "track_a/", "notes.txt", "eng.csv", "pred_.csv")
PIECES = (
    "0",
    "1",
    "2",
    "1.0",
    ",",
    ";",
    "\n",
    "\r",
    '"',
    "",
    " ",
    "\ufeff",
    "\x00",
    "id",
    "x",
    "\xa0",
)
SECONDS = 10.0
SAMPLE = Path(__file__).parents[1] / "submission" / "vectors"


def main() -> None:
    """Score and validate random zips, and print what became of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("vectors", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--zips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tally, bad = fuzz_zips(asked.vectors, Path(scratch), asked.zips, asked.seed)
    print(", ".join(f"{count} {name}" for name, count in sorted(tally.items())))
    for line in bad:
        print(line)
    raise SystemExit(bool(bad))


def fuzz_zips(
    vectors: Path, scratch: Path, n_zips: int, seed: int
) -> tuple[Counter[str], list[str]]:
    """Ask for the answers to random zips.

    Args:
        vectors: the folder of the recorded answers.
        scratch: an empty folder.
        n_zips: how many.
        seed: of the zips.

    Returns:
        How many zips of each kind were scored, scored with 0 or refused; and the bad ones in words.
    """
    draw, tally, bad = random.Random(seed), Counter[str](), list[str]()
    cases = _lay_out(vectors, scratch)
    for number in range(n_zips):
        task, references, vector = draw.choice(cases)
        kind = draw.choice(("whole", "changed texts", "damaged bytes"))
        data = _make_zip(draw, vector["pred"], kind)
        place = scratch / "now.zip"
        place.write_bytes(data)
        started = time.process_time()
        try:
            told = _answer(task, place, references)
            is_valid = _is_valid(task, place, references)
            outcome = "refused" if told is None else "scored" if told[0] else "scored 0"
            fault = _find_fault(kind, told, vector, data, (task, references), scratch / str(number))
            if is_valid and (told is None or not told[0]):
                fault = "validated, and scored with 0"
        except Exception as error:
            outcome, fault = "a crash", f"{type(error).__name__}: {error}"
        if time.process_time() - started > SECONDS:
            fault = fault or "took longer than 10 seconds"
        tally[f"{kind}: {outcome}"] += 1
        if fault:
            bad.append(f"zip {number}, {kind}, {task.name}, {vector['name']}: {fault[:300]}")
            print(bad[-1], file=sys.stderr, flush=True)
    return tally, bad


Answer = tuple[bool, Any, str] | None


def _lay_out(vectors: Path, scratch: Path) -> list[tuple[Task, Place, dict[str, Any]]]:
    """Write the gold files of all recorded submissions."""
    cases = []
    for track in "abc":
        task = load_task(f"semeval2025-task11-{track}")
        for vector in _read_vectors(vectors / f"track_{track}.json"):
            gold = scratch / "gold" / f"{track}-{vector['name']}"
            gold.mkdir(parents=True)
            for name, text in vector["gold"].items():
                (gold / name).write_bytes(text.encode())
            cases.append((task, find_references(task, gold), vector))
    return cases


def _read_vectors(path: Path) -> list[dict[str, Any]]:
    if path.is_file():
        return list(json.loads(path.read_text(encoding="utf-8")))
    lines = path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _make_zip(draw: random.Random, files: dict[str, str], kind: str) -> bytes:
    folder, members = draw.choice(FOLDERS), {}
    for name, text in files.items():
        for _ in range(draw.choice((0, 0, 0, 1, 3)) if kind == "changed texts" else 0):
            at = draw.randrange(len(text) + 1)
            text = text[:at] + draw.choice(PIECES) + text[at + draw.choice((0, 0, 1, 7)) :]
        members[folder + name] = text.encode("utf-8")
    if kind != "whole":
        members |= {name: b"id" for name in draw.sample(BESIDE, draw.choice((0, 0, 1, 2)))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice((0, 8))) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), b"" if name.endswith("/") else content)
    data = bytearray(buffer.getvalue())
    for _ in range(draw.choice((1, 1, 2, 8)) if kind == "damaged bytes" else 0):
        marks = [at for at in range(len(data)) if data[at : at + 2] == b"PK"] or [0]
        near = min(draw.choice(marks) + draw.randrange(46), len(data) - 1)
        at = draw.choice((near, near, draw.randrange(len(data))))
        fault = draw.randrange(4)
        if fault == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif fault == 1:
            data[at : at + 4] = draw.choice(
                (bytes(4), b"\1\0\0\0", b"\xff" * 4, b"\xff\xff\xff\x7f")
            )
        elif fault == 2 and len(data) > 60:
            del data[at : at + draw.randrange(1, 40)]
        else:
            data[at:at] = data[at : at + draw.randrange(1, 60)]
    return bytes(data)


def _answer(task: Task, place: Path, references: Place) -> Answer:
    """What is scored; None where the file is refused with a reason."""
    try:
        score = score_submission(task, place, references)
    except KitError:
        return None
    return score.accepted, score.scores, score.message


def _is_valid(task: Task, place: Path, references: Place) -> bool:
    try:
        return validate_submission(task, place, references).ok
    except KitError:
        return False


def _find_fault(
    kind: str,
    told: Answer,
    vector: dict[str, Any],
    data: bytes,
    given: tuple[Task, Place],
    folder: Path,
) -> str:
    """What is wrong with an answer; empty where it is right."""
    if kind == "whole":
        recorded = (vector["accepted"], vector["scores"], vector["message"])
        return "" if told == recorded else f"{told} and not {recorded}"
    if told is None:
        return ""
    folder.mkdir()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(folder)
    except Exception as error:  # what unpacking makes of damage is any error
        return f"scored, and cannot be unpacked ({error})"
    unpacked = _answer(given[0], folder, given[1])
    return "" if told == unpacked else f"{told} and, unpacked, {unpacked}"


if __name__ == "__main__":
    main()
