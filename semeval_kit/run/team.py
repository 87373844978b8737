"""Members of a blend: whether they fit together, and their probabilities of the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples, read_examples
from semeval_kit.data.texts import number_groups
from semeval_kit.decision.oof import OofRows
from semeval_kit.errors import KitError
from semeval_kit.plurals import count_noun
from semeval_kit.probs import Probs
from semeval_kit.run.directory import NEW_SPLITS, Run
from semeval_kit.run.plan import Say
from semeval_kit.task.codec import encode_labels, target_names
from semeval_kit.task.task import Task

Floats = NDArray[np.float64]
Key = tuple[str, str]
ON_DEV = (
    "Weights, thresholds and every figure here come from dev rows, since a member has no "
    "out-of-fold rows."
)


@dataclass(frozen=True)
class Team:
    """Members that fit together, and the rows on which their blend is judged.

    Attributes:
        runs: by name, in the order given.
        train_languages: that the judged rows are in.
        basis: "train" (out-of-fold rows) or "dev".
        silent: members that say nothing of the judged rows: their weight was set by hand.
    """

    runs: Mapping[str, Run]
    languages: tuple[str, ...]
    train_languages: tuple[str, ...]
    basis: str
    silent: tuple[str, ...]

    @classmethod
    def gather(
        cls, runs: Sequence[Run], languages: Sequence[str], fixed: Iterable[str], say: Say
    ) -> Team:
        """See that runs can be blended.

        Raises:
            KitError: with the reason why they cannot.
        """
        named = _name_runs(runs)
        _require_one_task(named)
        unknown = set(fixed) - set(named)
        if unknown:
            raise KitError(
                f"no member {', '.join(sorted(unknown))} to weigh; they are {', '.join(named)}."
            )
        predicted = _share_languages(named, "languages", languages)
        _require_unseen_languages(named, predicted)
        dumb = {name for name, run in named.items() if not _has_rows(run, "train")}
        speaking = {name: run for name, run in named.items() if name not in dumb} or named
        train = _share_languages(speaking, "train_languages", ())
        basis = "dev" if dumb - set(fixed) or len(dumb) == len(named) else "train"
        if basis == "dev":
            _require_unlearnt_dev(named)
        silent = tuple(name for name in named if not _has_rows(named[name], basis))
        for name in silent:
            if name not in fixed:
                raise KitError(
                    f"{named[name].path}: has neither out-of-fold rows nor dev rows, so nothing "
                    f"says what it is worth. Set its weight by hand: --weight {name}=0.3."
                )
        if len(silent) == len(named):
            raise KitError("no member has rows whose labels are known, so nothing can be judged.")
        if basis == "dev":
            train = predicted
        team = cls(named, predicted, train, basis, silent)
        for note in team.notes:
            say(f"note: {note}")
        team.tell_folds(say)
        return team

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside every figure of the blend."""
        sentences = [ON_DEV] if self.basis == "dev" else []
        for name in self.silent:
            sentences.append(
                f"{name} has no rows with known labels: the figures here leave it out."
            )
        for name, run in self.runs.items():
            if run.member == "external" and name not in self.silent and self.basis == "train":
                sentences.append(f"That {name} is out-of-fold is its origin's word.")
        return tuple(sentences)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all members."""
        return tuple(self.runs)

    @property
    def base(self) -> Run:
        """The member whose rows and folds the blend takes over."""
        return next(run for name, run in self.runs.items() if name not in self.silent)

    @cached_property
    def task(self) -> Task:
        """The task in the languages of the blend."""
        return self.base.task.narrowed(self.train_languages, self.languages)

    @cached_property
    def examples(self) -> Examples:
        """The rows that are judged, and those of the base that every model learns from."""
        if self.basis == "dev":
            return read_examples(self.task, self.base.data, "dev", self.languages, labelled=True)
        return self.narrow(self.base.read_train(), self.train_languages)

    def narrow(self, examples: Examples, languages: Sequence[str]) -> Examples:
        """The rows in some languages, with the labels of the blend."""
        kept = examples.take([row for row, g in enumerate(examples.languages) if g in languages])
        names = self.task.label_names
        columns = [kept.label_names.index(name) for name in names]
        return replace(kept, label_names=names, labels=kept.labels[:, columns])

    @cached_property
    def folds(self) -> NDArray[np.int64]:
        """The fold of each of the examples; -1 where every model learns from it."""
        if self.basis == "dev":
            return np.zeros(len(self.examples), dtype=np.int64)
        fold_of = self.base.read_folds()
        return np.array([fold_of[key] for key in self.examples.keys], dtype=np.int64)

    @cached_property
    def judged(self) -> Examples:
        """The rows that are judged."""
        return self.examples.take(np.flatnonzero(self.folds >= 0))

    @cached_property
    def probs(self) -> dict[str, Floats]:
        """The probs `(n, C)` of the judged rows, of every member that speaks."""
        return {
            name: self.align(name, self._read_known(run), self.judged.keys)
            for name, run in self.runs.items()
            if name not in self.silent
        }

    @cached_property
    def rows(self) -> OofRows:
        """The judged rows; their probs are the uniform mean of the members that speak."""
        return OofRows.of(
            np.mean(np.stack(list(self.probs.values())), axis=0),
            encode_labels(self.task, self.judged.labels),
            self.judged.languages,
            target_names(self.task),
            groups=number_groups(self.judged),
            folds=self.folds[self.folds >= 0],
        )

    def align(self, name: str, probs: Probs, keys: tuple[Key, ...]) -> Floats:
        """A member's probs of given rows and of the blend's targets, `(n, C)`.

        What a silent member does not know is 0 where no language that is predicted has it.

        Raises:
            KitError: a row or a target is missing, or targets have another order.
        """
        run, wanted = self.runs[name], target_names(self.task)
        if name in self.silent:
            asked = set(target_names(self.task.narrowed(self.languages, self.languages)))
            spared = [t for t in wanted if t not in asked and t not in probs.target_names]
            if spared and [t for t in wanted if t not in spared] == list(probs.target_names):
                values = np.zeros((len(probs), len(wanted)))
                values[:, [t not in spared for t in wanted]] = probs.values
                probs = Probs(probs.ids, probs.languages, tuple(wanted), values)
        missing = [target for target in wanted if target not in probs.target_names]
        shared = [target for target in probs.target_names if target in wanted]
        if missing or shared != list(wanted):
            reason = f"lacks {', '.join(missing)}" if missing else f"are in the order {shared}"
            raise KitError(
                f"{run.path}: its targets {reason}; the blend's are {list(wanted)}. "
                "Members must be of the same task and languages."
            )
        columns = [probs.target_names.index(target) for target in wanted]
        if probs.keys == keys:
            values = (
                probs.values if shared == list(probs.target_names) else probs.values[:, columns]
            )
        else:
            values = probs.values[np.ix_(self._find_rows(run, probs, keys), columns)]
        return values

    def tell_folds(self, say: Say) -> None:
        """Say which members held out the same rows in other folds."""
        if self.basis == "dev":
            return
        fold_of = dict(zip(self.examples.keys, self.folds.tolist(), strict=True))
        for name, run in self.runs.items():
            if name in self.silent or run is self.base:
                continue
            other = run.read_folds()
            if any(other.get(key, fold) != fold for key, fold in fold_of.items()):
                say(f"note: {name} has other folds than {self.base.name} of the same rows")

    def fingerprint(self) -> dict[str, str]:
        """A sha256 for each member, of all probabilities that the blend reads."""
        digests = {}
        for name, run in self.runs.items():
            digest = hashlib.sha256()
            oofs = [run.oof_file(f) for f in range(run.n_models)] if _has_rows(run, "oof") else []
            for path in (
                *oofs,
                *(run.probs_file(s, g) for s in NEW_SPLITS for g in self.languages),
            ):
                if path.is_file():
                    digest.update(path.read_bytes())
            digests[name] = digest.hexdigest()
        return digests

    def _read_known(self, run: Run) -> Probs:
        if self.basis == "train":
            return run.read_oof()
        if run.held_out_split == "dev":
            oof = run.read_oof()
            ids = tuple(id_.removeprefix("dev:") for id_ in oof.ids)
            return Probs(ids, oof.languages, oof.target_names, oof.values)
        return Probs.concat([run.read_probs("dev", language) for language in self.languages])

    def _find_rows(self, run: Run, probs: Probs, keys: tuple[Key, ...]) -> list[int]:
        position = {key: row for row, key in enumerate(probs.keys)}
        missing = [key for key in keys if key not in position]
        if not missing:
            return [position[key] for key in keys]
        fold_of = run.read_folds() if run.folds_file.is_file() else {}
        learnt = [id_ for language, id_ in missing if fold_of.get((language, id_), 0) < 0]
        if learnt:
            raise KitError(
                f"{run.path}: has learnt from {count_noun(len(learnt), 'row')} on which the blend "
                f"is judged ({', '.join(learnt[:3])}, ...). Train it on the same folds, "
                "or leave it out."
            )
        shown = ", ".join(id_ for _, id_ in missing[:3])
        raise KitError(
            f"{run.path}: lacks {len(missing)} of the {len(keys)} rows of {self.base.name} "
            f"({shown}). Members must speak of the same rows."
        )


def _name_runs(runs: Sequence[Run]) -> dict[str, Run]:
    named: dict[str, Run] = {}
    for run in runs:
        if run.settings.get("per_language"):
            raise KitError(f"{run.path}: holds one run per language; blend those of a language.")
        name, number = run.name, 2
        while name in named:
            name, number = f"{run.name}-{number}", number + 1
        named[name] = run
    if len(named) < 2:
        raise KitError("a blend needs at least two members.")
    return named


def _require_one_task(named: Mapping[str, Run]) -> None:
    tasks = {name: run.task.name for name, run in named.items()}
    if len(set(tasks.values())) > 1:
        told = ", ".join(f"{name} is of {task}" for name, task in tasks.items())
        raise KitError(f"members are of different tasks: {told}. A blend has one.")


def _share_languages(named: Mapping[str, Run], key: str, asked: Sequence[str]) -> tuple[str, ...]:
    first, *others = named.values()
    shared = [g for g in first.settings[key] if all(g in other.settings[key] for other in others)]
    missing = [g for g in asked if g not in shared]
    if missing or not shared:
        what = ", ".join(missing) or "a language"
        raise KitError(f"not every member has {what} among its {key.replace('_', ' ')}.")
    return tuple(asked) or tuple(shared)


def _require_unseen_languages(named: Mapping[str, Run], predicted: Sequence[str]) -> None:
    for name, run in named.items():
        seen = sorted(set(run.settings["train_languages"]) & set(predicted))
        if run.task.cross_lingual and seen:
            raise KitError(
                f"{run.path}: has learnt from {', '.join(seen)}, which the blend predicts; "
                f"task {run.task.name} forbids that. Leave {name} out."
            )


def _require_unlearnt_dev(named: Mapping[str, Run]) -> None:
    for name, run in named.items():
        if not run.task.may_teach("dev"):
            raise KitError(
                f"task {run.task.name} lets nothing be learnt from dev, so only out-of-fold rows "
                "may say how to blend. Give members that have them; any other takes a weight set "
                "by hand: --weight NAME=0.3."
            )
        if "dev" in run.learnt_splits:
            raise KitError(
                f"{run.path}: has learnt from dev, on which this blend is judged. "
                f"Leave {name} out, or train it on train alone."
            )


def _has_rows(run: Run, basis: str) -> bool:
    """Whether a member speaks of rows with known labels: "oof", "train" or "dev"."""
    held_out = run.folds_file.is_file() and run.n_held_out_rows > 0
    if basis == "oof":
        return held_out
    if basis == "train":
        return held_out and not run.held_out_split
    return run.held_out_split == "dev" or all(
        run.probs_file("dev", language).is_file() for language in run.languages
    )
