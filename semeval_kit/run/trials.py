"""The trials of a search in Optuna's storage, which many processes and machines share.

Optuna proposes and remembers; who is at work on a trial is said by a lease in the search's folder,
so that a trial whose process is gone is taken up again.
"""

from __future__ import annotations

import os
import socket
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semeval_kit.decision.oof import FloatArray
from semeval_kit.decision.verdict import mean_cells
from semeval_kit.errors import KitError, import_extra
from semeval_kit.files import hold_lock
from semeval_kit.plurals import count_noun
from semeval_kit.run.lease import hold_lease, read_lease
from semeval_kit.run.plan import Say
from semeval_kit.training.space import Dimension, Space

JOURNAL = "journal.log"
_NAME = "search"
LOCK_SECONDS = 120
# A trial that ended so many processes is given up.
_MOST_BEGINNINGS = 5
_STATES = {"RUNNING": "open", "COMPLETE": "done", "PRUNED": "stopped", "FAIL": "failed"}


@dataclass(frozen=True)
class Trial:
    """What the storage knows of one trial.

    Attributes:
        number: 0 is the recipe that the search began with.
        params: the fields that vary, by name.
        state: "waiting", "open", "done", "stopped" or "failed".
        cells: `(k, C)` of the folds trained so far, see `decision.verdict`.
        value: of the objective; None while there is none.
        why: the reason why it was stopped or has failed.
        seconds: of training, all folds.
        same_as: number of the trial with the same params whose figures were taken over; -1: none.
    """

    number: int
    params: Mapping[str, Any]
    state: str
    cells: FloatArray = field(repr=False)
    value: float | None = None
    why: str = ""
    seconds: float = 0.0
    same_as: int = -1

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"trial-{self.number:03}"

    @property
    def n_folds(self) -> int:
        """How many folds were trained for it."""
        return 0 if self.same_as >= 0 else len(self.cells)


class Trials:
    """All trials of a search; every call sees what other processes have written."""

    def __init__(self, folder: Path, storage: str, space: Space, *, seed: int, low: bool) -> None:
        """Open the storage, or begin it.

        Args:
            folder: of the search.
            storage: URL of a database; empty: a journal file in the folder.
            space: what varies.
            seed: of the proposals.
            low: whether small values of the objective are better.

        Raises:
            KitError: optuna is not installed, or the storage cannot be used.
        """
        self._optuna = load_optuna()
        self.folder, self.space, self.seed, self._low = folder, space, seed, low
        self._storage = self._open(storage)
        direction = "minimize" if low else "maximize"
        with self._explained():
            self._study = self._optuna.create_study(
                storage=self._storage, study_name=_NAME, direction=direction, load_if_exists=True
            )

    def bind(self, digest: str) -> None:
        """See that the storage is of this search, by a hash of what all trials share.

        Raises:
            KitError: it is of another.
        """
        digest_of_study = self._study.user_attrs.get("digest")
        if digest_of_study is None:
            self._study.set_user_attr("digest", digest)
        elif digest_of_study != digest:
            raise KitError(
                "the storage holds a search with other data, recipe, space or objective. Give "
                "another --storage, or the old settings."
            )

    def read_all(self) -> list[Trial]:
        """All trials by number."""
        with self._explained():
            return [_read_trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    @contextmanager
    def take(self, most: int, start: Mapping[str, Any], say: Say) -> Iterator[Trial | None]:
        """Hold a trial: one whose process is gone, or a new one; None where there is none to do."""
        with ExitStack() as held:
            with hold_lock(self.folder, LOCK_SECONDS):
                trial = self._find_orphan(say) or self._propose(most, start)
                if trial is not None:  # the lease is there before another process may look
                    held.enter_context(hold_lease(self._lease_file(trial.name)))
            yield trial

    def release(self, trial: Trial) -> None:
        """Leave an open trial to whoever comes next."""
        with self._explained():
            self._storage.set_trial_user_attr(self._id(trial.number), "owner", {})

    @contextmanager
    def hold(self, name: str) -> Iterator[str]:
        """Hold work of another kind; gives who else is at it, or "" where nobody is."""
        with ExitStack() as held:
            with hold_lock(self.folder, LOCK_SECONDS):
                owner = _name_owner(read_lease(self._lease_file(name)))
                if not owner:
                    held.enter_context(hold_lease(self._lease_file(name)))
            yield owner

    def describe_owner(self, trial: Trial) -> str:
        """Who is at work on an open trial: "process 7 of node3"; empty where nobody is."""
        lease = read_lease(self._lease_file(trial.name))
        if lease:
            return _name_owner(lease)
        # Where no folder is shared, there is no lease to be seen of another machine.
        owner = self._attrs(trial.number).get("owner", {})
        here = owner.get("host") in (None, socket.gethostname())
        return "" if here else f"process {owner.get('pid')} of {owner['host']}"

    def note_fold(self, trial: Trial, cells: FloatArray, seconds: float) -> None:
        """Keep what a further fold of a trial has measured."""
        number = len(trial.cells)
        values = [None if np.isnan(cell) else float(cell) for cell in cells]
        with self._explained():
            id_ = self._id(trial.number)
            known = {"cells": values, "seconds": seconds}
            self._storage.set_trial_user_attr(id_, f"fold-{number}", known)
            # What the sampler makes of a trial that is stopped; high is better, as of cells.
            mean = mean_cells(np.array([*trial.cells, cells]))
            told = 0.0 if np.isnan(mean) else -mean if self._low else mean
            self._storage.set_trial_intermediate_value(id_, number, told)

    def finish(self, trial: Trial, value: float) -> None:
        """End a trial that has all its folds."""
        with self._explained():
            self._study.tell(trial.number, value)

    def end(self, trial: Trial, why: str, *, failed: bool = False) -> None:
        """End a trial that is clearly behind, or that cannot be trained."""
        states = self._optuna.trial.TrialState
        with self._explained():
            self._storage.set_trial_user_attr(self._id(trial.number), "why", why)
            self._study.tell(trial.number, state=states.FAIL if failed else states.PRUNED)

    def take_over(self, trial: Trial, other: Trial) -> None:
        """End a trial with the figures of one with the same params that is done or stopped."""
        with self._explained():
            id_ = self._id(trial.number)
            self._storage.set_trial_user_attr(id_, "same_as", other.number)
            attrs = self._attrs(other.number)
            for number in range(len(other.cells)):
                name = f"fold-{number}"
                self._storage.set_trial_user_attr(id_, name, {**attrs[name], "seconds": 0.0})
        if other.state == "done" and other.value is not None:
            self.finish(trial, other.value)
        else:
            self.end(trial, f"the same as {other.name}: {other.why}")

    def rank_fields(self, values: Mapping[int, float]) -> dict[str, float]:
        """How much each field mattered, in shares of 1, by fANOVA over the given trials."""
        optuna = self._optuna
        study = optuna.create_study()
        distributions = self._distributions()
        for trial in self.read_all():
            if trial.number in values and set(trial.params) == set(distributions):
                study.add_trial(
                    optuna.trial.create_trial(
                        params=dict(trial.params),
                        distributions=distributions,
                        value=values[trial.number],
                    )
                )
        told = [trial.value for trial in study.trials]
        if len(told) < 2 or len(set(told)) < 2:
            return {}
        judge = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=judge)
        return {name: float(share) for name, share in shares.items()}

    def _find_orphan(self, say: Say) -> Trial | None:
        for trial in self.read_all():
            if trial.state != "open" or self.describe_owner(trial):
                continue
            beginnings = int(self._attrs(trial.number).get("beginnings", 1))
            if beginnings >= _MOST_BEGINNINGS:
                why = f"begun {beginnings} times, and its process ended each time"
                self.end(trial, why, failed=True)
                say(
                    f"{trial.name}: {count_noun(beginnings, 'process', 'processes')} ended at work "
                    "on it: given up"
                )
                continue
            self._own(trial.number, beginnings + 1)
            say(
                f"{trial.name}: its process is gone; it goes on after "
                f"{count_noun(trial.n_folds, 'fold')}"
            )
            return trial
        return None

    def _propose(self, most: int, start: Mapping[str, Any]) -> Trial | None:
        optuna, every_trial = self._optuna, self.read_all()
        if sum(trial.state != "waiting" for trial in every_trial) >= most:
            return None
        with self._explained():
            if not every_trial:
                self._study.enqueue_trial(dict(start))
            # A seed of its own for each trial: processes that share a search never propose alike.
            self._study.sampler = optuna.samplers.TPESampler(
                seed=zlib.crc32(f"{self.seed} {len(every_trial)}".encode()), multivariate=True
            )
            number = int(self._study.ask(self._distributions()).number)
            self._own(number, 1)
        return self.read_all()[number]

    def _own(self, number: int, beginnings: int) -> None:
        with self._explained():
            id_ = self._id(number)
            owner = {"host": socket.gethostname(), "pid": os.getpid()}
            self._storage.set_trial_user_attr(id_, "owner", owner)
            self._storage.set_trial_user_attr(id_, "beginnings", beginnings)

    def _attrs(self, number: int) -> dict[str, Any]:
        return dict(self._storage.get_trial(self._id(number)).user_attrs)

    def _id(self, number: int) -> int:
        study = self._storage.get_study_id_from_name(_NAME)
        return int(self._storage.get_trial_id_from_study_id_trial_number(study, number))

    def _lease_file(self, name: str) -> Path:
        return self.folder / "at-work" / f"{name}.json"

    def _distributions(self) -> dict[str, Any]:
        return {d.name: _to_distribution(self._optuna, d) for d in self.space.dimensions}

    def _open(self, storage: str) -> Any:
        storages = self._optuna.storages
        if storage:
            with self._explained():
                return storages.get_storage(storage)
        # Absolute, since its lock is a link that must lead somewhere from wherever it is read.
        path = (self.folder / JOURNAL).resolve()
        lock = storages.journal.JournalFileSymlinkLock(str(path))
        _cut_torn_line(path, lock)
        backend = storages.journal.JournalFileBackend(str(path), lock_obj=lock)
        with self._explained():
            return storages.JournalStorage(backend)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except KitError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            told = " ".join(str(error).split())[:300]
            raise KitError(
                f"{self.folder}: the trials cannot be read or written ({type(error).__name__}: "
                f"{told}). Put {JOURNAL} back from a copy, or see that the database of --storage "
                "can be reached."
            ) from error


def load_optuna() -> Any:
    """The library that proposes trials.

    Raises:
        KitError: it is missing.
    """
    optuna = import_extra("optuna", "search", "search needs")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def _read_trial(frozen: Any) -> Trial:
    attrs = frozen.user_attrs
    folds: list[dict[str, Any]] = []
    while (fold := attrs.get(f"fold-{len(folds)}")) is not None:
        folds.append(fold)
    cells = [[np.nan if cell is None else cell for cell in fold["cells"]] for fold in folds]
    state = _STATES.get(frozen.state.name, "waiting")
    return Trial(
        number=frozen.number,
        params=dict(frozen.params),
        state=state,
        cells=np.array(cells, dtype=np.float64) if cells else np.zeros((0, 0)),
        value=frozen.value if state == "done" else None,
        why=str(attrs.get("why", "")),
        seconds=float(sum(fold["seconds"] for fold in folds)),
        same_as=int(attrs.get("same_as", -1)),
    )


def _to_distribution(optuna: Any, dimension: Dimension) -> Any:
    kinds = optuna.distributions
    if dimension.choices:
        return kinds.CategoricalDistribution(dimension.choices)
    if dimension.whole:
        low, high = int(dimension.low), int(dimension.high)
        return kinds.IntDistribution(low, high, log=dimension.log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _name_owner(lease: Mapping[str, Any]) -> str:
    """Whose lease it is; empty where its process is gone."""
    if lease.get("state") != "running":
        return ""
    if lease.get("host") == socket.gethostname():
        import psutil

        if not psutil.pid_exists(int(lease.get("pid", -1))):
            return ""
    return f"process {lease.get('pid')} of {lease.get('host')}"


def _cut_torn_line(path: Path, lock: Any) -> None:
    """Cut off a last line that a full disk or a power cut left without its end."""
    if not path.is_file() or not path.stat().st_size:
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()
