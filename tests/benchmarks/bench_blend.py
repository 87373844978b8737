"""Seconds and memory of blending two members of a million test rows of six labels.

Run it as `python tests/benchmarks/bench_blend.py [ROWS]`. It makes both members' files in a
temporary folder, then reads, blends and writes them as `semeval-kit blend` does, in a process of
its own, and prints what that took.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LABELS = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
WORK = """
import resource, sys, time
from pathlib import Path
from semeval_kit.decision.blend import fix_weights, mix_members
from semeval_kit.probs import Probs, read_probs, write_probs

folder = Path(sys.argv[1])
start = time.monotonic()
members = [read_probs(folder / f"{name}.csv") for name in "ab"]
assert members[0].keys == members[1].keys
first = members[0]
weights = fix_weights("ab", first.target_names, (0.6, 0.4))
mixed = mix_members([member.values for member in members], weights, first.languages)
write_probs(folder / "mixed.csv", Probs(first.ids, first.languages, first.target_names, mixed))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(f"{len(first)} rows: {time.monotonic() - start:.1f} s, {peak:.2f} GB at most")
"""


def main() -> None:
    """Make two members, blend them, print seconds and memory."""
    from semeval_kit.probs import Probs, write_probs

    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    ids = tuple(f"eng_test_track_a_{row:07d}" for row in range(n_rows))
    with tempfile.TemporaryDirectory() as name:
        for seed, member in enumerate("ab"):
            values = np.random.default_rng(seed).random((n_rows, len(LABELS)))
            write_probs(Path(name) / f"{member}.csv", Probs(ids, ("eng",) * n_rows, LABELS, values))
        subprocess.run([sys.executable, "-c", WORK, name], check=True)


if __name__ == "__main__":
    main()
