"""The references of a system paper: the task's, the encoders', and those of the methods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from semeval_kit.show.pages import read_template

# Patterns of an encoder's name -> keys in templates/known.bib; the first that matches decides.
_ENCODERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # Models further trained for African languages have papers of their own.
    (r"afro|afri", ()),
    (r"^embedded$|minilm", ("wang2020minilm", "reimers2019sentence")),
    (r"sentence-transformers/.*mpnet|all-mpnet", ("song2020mpnet", "reimers2019sentence")),
    (r"mpnet", ("song2020mpnet",)),
    (r"mdeberta|deberta-?v3", ("he2021debertav3", "he2021deberta")),
    (r"deberta", ("he2021deberta",)),
    (r"modernbert", ("warner2024modernbert",)),
    (r"bertweet", ("nguyen2020bertweet",)),
    (r"twitter-roberta", ("barbieri2020tweeteval", "liu2019roberta")),
    (r"xlm-?r", ("conneau2020unsupervised",)),
    (r"distilroberta", ("sanh2019distilbert", "liu2019roberta")),
    (r"roberta", ("liu2019roberta",)),
    (r"distilbert", ("sanh2019distilbert",)),
    (r"rembert", ("chung2021rethinking",)),
    (r"labse", ("feng2022labse",)),
    (r"albert", ("lan2020albert",)),
    (r"electra", ("clark2020electra",)),
    (r"(^|/)bert[-_](tiny|mini|small|medium)|bert_uncased_l-", ("turc2019well", "devlin2019bert")),
    (r"^(google-bert/)?bert-(base|large)", ("devlin2019bert",)),
)
METHODS = ("wolf2020transformers", "efron1993introduction", "yeh2000more")


@dataclass(frozen=True)
class Bibliography:
    """Entries of a .bib file, and which of them stand for what.

    Attributes:
        task_keys: citation keys of the task and its data.
        encoder_keys: encoder name -> its citation keys; none if the encoder is not known here.
    """

    entries: tuple[str, ...]
    task_keys: tuple[str, ...]
    encoder_keys: dict[str, tuple[str, ...]]

    def to_bibtex(self) -> str:
        """The .bib file; what is not known is a comment that begins with TODO."""
        unknown = [" ".join(name.split()) for name in self.unknown_encoders]
        missing = [f"% TODO: BibTeX of the encoder {name}" for name in unknown]
        if not self.task_keys:
            missing.insert(0, "% TODO: BibTeX of the task and its data (the task file has none)")
        return "\n\n".join([*missing, *self.entries]) + "\n"

    @property
    def unknown_encoders(self) -> tuple[str, ...]:
        """Encoders without an entry."""
        return tuple(name for name, keys in self.encoder_keys.items() if not keys)


def collect_citations(task_citations: Sequence[str], encoders: Sequence[str]) -> Bibliography:
    """Gather the entries that a system paper needs."""
    known = {read_key(entry): entry for entry in split_entries(read_template("known.bib"))}
    encoder_keys = {name: find_encoder_keys(name) for name in dict.fromkeys(encoders)}
    task_entries = [entry.strip() for text in task_citations for entry in split_entries(text)]
    task_keys = [key for entry in task_entries if (key := read_key(entry))]
    wanted = dict.fromkeys([*(k for keys in encoder_keys.values() for k in keys), *METHODS])
    entries = [*task_entries, *(known[key] for key in wanted if key not in task_keys)]
    return Bibliography(tuple(entries), tuple(task_keys), encoder_keys)


def find_encoder_keys(encoder: str) -> tuple[str, ...]:
    """Citation keys of an encoder by its name; empty if it is not known here."""
    name = encoder.casefold().rstrip("/")
    # Of a folder only the last part says anything about the model.
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        name = name.rpartition("/")[2]
    for pattern, keys in _ENCODERS:
        if re.search(pattern, name):
            return keys
    return ()


def split_entries(text: str) -> list[str]:
    """BibTeX entries of a text, each from its @ to where its braces close."""
    entries = []
    for start in (match.start() for match in re.finditer(r"^\s*@", text, re.MULTILINE)):
        depth = 0
        for place in range(text.index("@", start), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if text[place] == "}" and depth == 0:
                entries.append(text[start : place + 1].strip())
                break
    return entries


def read_key(entry: str) -> str:
    """The citation key of an entry; empty if there is none usable in a citation command."""
    match = re.match(r"\s*@\w+\s*\{\s*([A-Za-z0-9:._+/-]+)\s*,", entry)
    return match.group(1) if match else ""
