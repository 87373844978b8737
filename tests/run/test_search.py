"""A search: paired trials, a winner confirmed on other folds, killed and shared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("optuna", reason="optuna is not installed")

from semeval_kit.cli import main
from semeval_kit.errors import KitError
from semeval_kit.files import read_json, write_json
from semeval_kit.plurals import count_noun
from semeval_kit.run import search as search_module
from semeval_kit.run.blending import BlendPlan, blend_runs
from semeval_kit.run.directory import Run
from semeval_kit.run.plan import Engine, Plan, SearchPlan
from semeval_kit.run.search import confirm_winner, find_winner, measure_fold, search
from semeval_kit.run.trials import Trial
from semeval_kit.training.recipe import Recipe, make_recipe
from semeval_kit.training.space import Space, load_space

ENGINE = Engine(threads=1)
SPACE = "lr = { low = 1e-4, high = 1e-2, log = true }\nepochs = [1, 2]\npooling = ['mean', 'cls']\n"


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.fixture
def asked(make_plan: Callable[..., Plan], space_file: Path) -> SearchPlan:
    """A search of three trials in English on two folds."""
    plan = make_plan(("eng",), epochs=1)
    return SearchPlan(plan, load_space(str(space_file), plan.config), n_trials=3)


def keep_quiet(_: str) -> None:
    """Say nothing."""


def fake_cells(run: Run, fold: int) -> np.ndarray:
    """Five labels whose measure is best at lr 1e-3 and scatters a little over folds and labels."""
    rng = np.random.default_rng([fold, round(run.recipe["lr"] * 1e9)])
    loss = 0.1 * abs(np.log10(run.recipe["lr"]) + 3)
    return np.array([0.5, 0.6, 0.7, 0.8, 0.65]) - loss + rng.normal(0, 0.005, 5)


def fake_value(run: Run, _: str) -> float:
    """The mean of the fake cells."""
    return float(np.mean([fake_cells(run, fold) for fold in range(run.n_folds)]))


def install_fake(patch: Callable[[Any, str, Any], None], seconds: float = 0.0) -> None:
    """Let a search train nothing: each fold takes a while and notes which process did it."""

    def train(run: Run, engine: Engine, _: Any) -> None:
        (fold,) = engine.folds
        time.sleep(seconds)
        with (run.path.parent / "folds.log").open("a", encoding="utf-8") as log:
            log.write(f"{run.name} {fold} {os.getpid()}\n")
        write_json(run.done_file(fold), {"process_seconds": 2.0})

    patch(search_module, "train", train)
    patch(search_module, "measure_fold", fake_cells)
    patch(search_module, "run_all", lambda *_: None)
    patch(search_module, "measure_trial", fake_value)
    patch(search_module, "confirm_winner", lambda *_: None)


def read_log(path: Path) -> list[list[str]]:
    """Name, fold and process of every fold that was trained."""
    return [line.split() for line in (path / "folds.log").read_text().splitlines()]


def make_fake(make_plan: Callable[..., Plan], folder: Path, **given: Any) -> SearchPlan:
    """A search of lr alone on five folds; keywords are of SearchPlan and of the recipe."""
    own = {name: given.pop(name) for name in list(given) if name in SearchPlan.__annotations__}
    plan = make_plan(("eng",), **{"folds": 5, "lr": 1e-3, **given})
    text = "lr = { low = 1e-5, high = 1e-1, log = true }\n"
    return SearchPlan(plan, Space("space.toml", text, _read(folder, text)), "map", **own)


def _read(folder: Path, text: str) -> Any:
    path = folder / "lr.toml"
    path.write_text(text, encoding="utf-8")
    return load_space(str(path), Recipe()).dimensions


@pytest.fixture
def fake(
    make_plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Do a search that trains nothing, in this process."""
    install_fake(monkeypatch.setattr)

    def give(say: Callable[[str], None] = keep_quiet, **given: Any) -> dict[str, Any]:
        asked = make_fake(make_plan, tmp_path, **{"n_trials": 12, **given})
        return search(tmp_path / "search", asked, ENGINE, say)

    return give


PROCESS = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("test_search", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["test_search"] = module
spec.loader.exec_module(module)
module.serve(Path(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5]))
"""


def serve(folder: Path, data: str, encoder: str, seconds: float) -> None:
    """Be a process of a fake search of eight trials."""
    install_fake(setattr, seconds)
    recipe = {"encoder": encoder, **{"folds": 5, "lr": 1e-3, "epochs": 1}}

    def make_plan(languages: tuple[str, ...], **fields: Any) -> Plan:
        config = make_recipe({**recipe, **fields}, "a test")
        return Plan("semeval2025-task11-a", Path(data), languages, config)

    asked = make_fake(make_plan, folder, n_trials=8)
    search(folder / "search", asked, ENGINE, lambda text: print(text, file=sys.stderr))


@pytest.fixture
def start_process(
    tiny_data: Path, tiny_bert: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes of a fake search in a folder."""
    started = []

    def give(folder: Path, seconds: float) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        words = [__file__, str(folder), str(tiny_data), str(tiny_bert), str(seconds)]
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *words],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        started.append(process)
        return process

    yield give
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_search_ends_in_a_winner_on_other_folds(
    asked: SearchPlan, tmp_path: Path, in_process: list[Any]
) -> None:
    said: list[str] = []
    path = tmp_path / "search"
    results = search(path, asked, ENGINE, said.append)
    assert [trial["name"] for trial in results["trials"]] == ["trial-000", "trial-001", "trial-002"]
    assert {trial["state"] for trial in results["trials"]} == {"done"}
    assert (results["folds_trained"], results["n_folds"], results["ranked_from"]) == (6, 2, 3)
    assert set(results["importances"]) == {"lr", "epochs", "pooling"}
    assert sum(results["importances"].values()) == pytest.approx(1.0)
    start = results["trials"][0]
    assert start["params"] == {"lr": 5e-3, "epochs": 1, "pooling": "mean"}
    assert start["against_start"] == 0.0

    # Folds and seeds are the same for all trials, and others where the winner is confirmed.
    runs = [Run.open(path / trial["name"]) for trial in results["trials"]]
    assert runs[0].read_folds() == runs[1].read_folds() == runs[2].read_folds()
    assert {run.recipe["seed"] for run in runs} == {0}
    confirmed = Run.open(path / "confirm" / "start")
    assert confirmed.recipe["seed"] == 1
    assert confirmed.read_folds() != runs[0].read_folds()
    assert list(confirmed.read_folds()) == list(runs[0].read_folds())

    # Every trial is a finished run; the objective is its cross-fitted score.
    for run, trial in zip(runs, results["trials"], strict=True):
        estimate = read_json(run.estimate_file)
        assert trial["value"] == estimate["cross_fitted"]["score"]
        assert run.zip_file.is_file()
        assert not run.model_dir(0).exists()
        assert run.recipe["select_by"] == "last"
        assert trial["map"] == pytest.approx(
            np.nanmean([measure_fold(run, fold) for fold in range(2)])
        )
    best = max(results["trials"], key=lambda trial: trial["value"])
    assert results["winner"] == best["name"]
    facts = results["confirmed"]
    estimate = read_json(confirmed.estimate_file)
    assert facts["winner"] == best["name"]
    assert facts["start"]["score"] == pytest.approx(estimate["cross_fitted"]["score"])
    if facts["difference"]:
        own = read_json(path / "confirm" / best["name"] / "estimate.json")["cross_fitted"]["score"]
        assert facts["figures"]["score"] == pytest.approx(own)
        assert facts["difference"]["difference"] == pytest.approx(own - facts["start"]["score"])
        assert facts["difference"]["low"] <= facts["difference"]["high"]
    assert read_json(path / "results.json") == json.loads(json.dumps(results))

    # Members of a blend.
    blend = blend_runs(tmp_path / "blend", runs, BlendPlan(), None, keep_quiet)
    assert blend.zip_file.is_file()

    # The storage knows no hashes: the winner is held against its run.
    journal = path / "journal.log"
    whole = journal.read_text(encoding="utf-8")
    journal.write_text(whole.replace(f'"values":[{best["value"]}]', '"values":[0.99]'))
    with pytest.raises(KitError, match=r"the storage of the search says 0\.99\. The storage is d"):
        search(path, asked, ENGINE, keep_quiet)
    journal.write_text(whole, encoding="utf-8")

    # The same call finds nothing to do and says the same.
    before = len(in_process)
    assert search(path, asked, ENGINE, keep_quiet) == results
    assert len(in_process) == before


def test_a_trial_clearly_behind_gets_no_further_fold(fake: Callable[..., Any]) -> None:
    said: list[str] = []
    results = fake(said.append)
    trials = results["trials"]
    assert [trial["folds"] for trial in trials[:3]] == [5, 5, 5]  # nobody to be behind of
    stopped = [trial for trial in trials if trial["state"] == "stopped"]
    assert len(stopped) >= 4
    for trial in stopped:
        assert trial["folds"] < 5
        assert trial["value"] is None
        assert trial["against_start"] < -0.02
        assert "clearly behind trial-" in trial["why"]
        assert "and below the median" in trial["why"]
        assert f"{trial['name']}: stopped {trial['why']}" in said
    assert results["folds_trained"] == sum(trial["folds"] for trial in trials) < 60
    # The start is best here by construction, or something as near to 1e-3.
    best = next(trial for trial in trials if trial["name"] == results["winner"])
    assert abs(np.log10(best["params"]["lr"]) + 3) < 0.2
    assert results["ranked_from"] == 12


def test_the_recipe_itself_is_never_stopped(fake: Callable[..., Any], tmp_path: Path) -> None:
    results = fake(lr=1e-5)
    assert results["trials"][0]["state"] == "done"
    assert results["trials"][0]["params"] == {"lr": 1e-5}


def test_a_killed_search_goes_on_to_the_same_end(
    start_process: Callable[..., Any], tmp_path: Path
) -> None:
    whole = start_process(tmp_path / "whole", 0.0)
    assert whole.wait(1200) == 0, whole.stderr.read()
    killed = start_process(tmp_path / "killed", 0.2)
    log = tmp_path / "killed" / "search" / "folds.log"
    while not log.is_file() or len(log.read_text().splitlines()) < 7:
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = start_process(tmp_path / "killed", 0.0)
    told = again.communicate(timeout=1200)[1]
    assert again.returncode == 0, told
    assert "trial-001: its process is gone; it goes on after" in told
    first, second = (
        read_json(tmp_path / n / "search" / "results.json") for n in ("whole", "killed")
    )
    assert second == first
    # At most the fold that the kill struck was trained twice.
    folds = [tuple(line[:2]) for line in read_log(tmp_path / "killed" / "search")]
    assert len(folds) - len(set(folds)) <= 1


def test_status_and_stop_know_a_search(start_process: Callable[..., Any], tmp_path: Path) -> None:
    path, process = tmp_path / "search", start_process(tmp_path, 1.0)
    log = path / "folds.log"
    while not log.is_file() or len(log.read_text().splitlines()) < 6:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    invoke = CliRunner().invoke
    told = invoke(main, ["status", str(path)]).stdout.splitlines()
    assert told == ["trial-000: done", f"trial-001: running, on {socket.gethostname()}"]
    stopped = invoke(main, ["stop", str(path)])
    # The words of this process do not say that it is a search; a number alone may be another's.
    assert "nothing is at work here" in stopped.stderr
    process.kill()  # or it would write its own number again
    process.wait()
    lease = path / "at-work" / "trial-001.json"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", "semeval_kit", "search"]
    other = subprocess.Popen(sleep)
    lease.write_text(lease.read_text().replace(str(process.pid), str(other.pid)))
    stopped = invoke(main, ["stop", str(path)])
    assert stopped.stderr == f"trial-001: process {other.pid} is told to stop\n"
    assert other.wait(10) == -signal.SIGTERM


def test_processes_share_a_search(start_process: Callable[..., Any], tmp_path: Path) -> None:
    both = [start_process(tmp_path, 0.3) for _ in range(2)]
    told = [process.communicate(timeout=1200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    lines = read_log(tmp_path / "search")
    folds = [tuple(line[:2]) for line in lines]
    assert len(folds) == len(set(folds))  # no fold was trained twice
    assert {line[2] for line in lines} == {str(process.pid) for process in both}
    results = read_json(tmp_path / "search" / "results.json")
    assert len(results["trials"]) == 8
    assert len({trial["params"]["lr"] for trial in results["trials"]}) == 8
    assert {trial["state"] for trial in results["trials"]} <= {"done", "stopped"}
    assert list((tmp_path / "search" / "at-work").iterdir()) == []


def test_time_that_is_over_leaves_the_trial_to_the_next(
    fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    clock = iter([*range(9), *[10**6] * 100])
    monkeypatch.setattr(search_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    results = fake(said.append, hours=1)
    monkeypatch.setattr(search_module, "time", time)
    assert results["trials"][-1]["state"] == "open"
    number, done = len(results["trials"]) - 1, results["trials"][-1]["folds"]
    assert f"trial-{number:03}: time is over; the same command goes on with fold {done}" in said
    said.clear()
    assert len(fake(said.append)["trials"]) == 12
    folds = count_noun(done, "fold")
    assert f"trial-{number:03}: its process is gone; it goes on after {folds}" in said


def test_a_trial_that_ends_its_processes_is_given_up(
    fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, said = search_module.train, []

    def die(run: Run, *rest: Any) -> None:
        if run.name == "trial-001":
            raise SystemExit(137)
        train(run, *rest)

    monkeypatch.setattr(search_module, "train", die)
    for _ in range(5):
        with pytest.raises(SystemExit):
            fake(said.append)
    results = fake(said.append, n_trials=12)
    assert results["trials"][1]["state"] == "failed"
    assert "begun 5 times" in results["trials"][1]["why"]
    assert "trial-001: 5 processes ended at work on it: given up" in said
    assert len(results["trials"]) == 12


def test_failures(fake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    train, broken = search_module.train, {"trial-000"}

    def fail(run: Run, *rest: Any) -> None:
        if run.name in broken:
            raise KitError(f"{run.name}: out of memory")
        train(run, *rest)

    monkeypatch.setattr(search_module, "train", fail)
    with pytest.raises(KitError, match="trial-000: out of memory"):
        fake()
    broken.clear()
    broken |= {"trial-002", "trial-004", "trial-005", "trial-006"}
    with pytest.raises(KitError, match="3 trials in a row have failed.*\ntrial-006: out of memory"):
        fake()
    results = fake()
    states = [trial["state"] for trial in results["trials"]]
    assert states[:7] == ["done", "done", "failed", "done", "failed", "failed", "failed"]
    assert results["trials"][2]["why"] == "trial-002: out of memory"


def test_a_search_keeps_its_settings(fake: Callable[..., Any]) -> None:
    fake(n_trials=2)
    with pytest.raises(KitError, match="this search was begun with other settings") as caught:
        fake(n_trials=3, lr=1e-4)
    assert "recipe: the search has" in caught.value.message
    assert len(fake(n_trials=3)["trials"]) == 3  # more trials are no other search


def test_a_search_keeps_its_rows(
    make_plan: Callable[..., Plan], tiny_data: Path, tmp_path: Path, fake: Callable[..., Any]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    fake(n_trials=2, data=data)
    elsewhere = tmp_path / "elsewhere"
    data.rename(elsewhere)
    assert len(fake(n_trials=3, data=elsewhere)["trials"]) == 3
    train = elsewhere / "track_a" / "train" / "eng.csv"
    train.write_text(train.read_text(encoding="utf-8").replace(",1,", ",0,", 1), encoding="utf-8")
    with pytest.raises(KitError, match="data_sha256: the search has"):
        fake(n_trials=4, data=elsewhere)


def test_the_same_params_are_not_trained_twice(
    fake: Callable[..., Any], make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    space = tmp_path / "two.toml"
    space.write_text("lr = [1e-3, 1e-4]\n", encoding="utf-8")
    plan = make_plan(("eng",), folds=5, lr=1e-3)
    asked = SearchPlan(plan, load_space(str(space), plan.config), "map", n_trials=6)
    results = search(tmp_path / "search", asked, ENGINE, keep_quiet)
    assert results["folds_trained"] == 10
    copies = [trial for trial in results["trials"] if trial["same_as"] >= 0]
    assert len(copies) == 4
    for copy in copies:
        twin = results["trials"][copy["same_as"]]
        assert (copy["value"], copy["params"]) == (twin["value"], twin["params"])
    assert results["winner"] == "trial-000"
    assert results["ranked_from"] == 2


def test_a_torn_line_of_the_journal_is_cut_off_and_a_damaged_one_is_told(
    fake: Callable[..., Any], tmp_path: Path
) -> None:
    fake(n_trials=2)
    journal = tmp_path / "search" / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"worker')
    assert len(fake(n_trials=3)["trials"]) == 3
    journal.write_bytes(whole.replace(b'"op_code"', b'"op_co', 1))
    with pytest.raises(KitError, match="the trials cannot be read or written"):
        fake(n_trials=3)


def test_a_database_keeps_a_search(fake: Callable[..., Any], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    results = fake(n_trials=4, storage=url)
    assert len(results["trials"]) == 4
    assert not (tmp_path / "search" / "journal.log").exists()
    shutil.rmtree(tmp_path / "search")  # as on a machine that shares the database alone
    assert len(fake(n_trials=5, storage=url)["trials"]) == 5
    shutil.rmtree(tmp_path / "search")
    with pytest.raises(KitError, match="the storage holds a search with other data, recipe"):
        fake(n_trials=5, storage=url, lr=2e-3)


def test_who_is_last_confirms(fake: Callable[..., Any], tmp_path: Path) -> None:
    """A trial of another machine is at work while its lease beats, or where none can be seen."""
    from semeval_kit.run.trials import Trials

    fake(n_trials=2)
    space = Space("", "", _read(tmp_path, "lr = { low = 1e-5, high = 1e-1, log = true }\n"))
    trials, said = Trials(tmp_path / "search", "", space, seed=0, low=False), []
    asked: Any = None  # never looked at
    with trials.take(3, {}, said.append) as trial:
        assert trial is not None
        here = f"process {os.getpid()} of {socket.gethostname()}"
        assert trials.describe_owner(trial) == here
        confirm_winner(tmp_path / "search", asked, ENGINE, trials, said.append)
        lease = tmp_path / "search" / "at-work" / "trial-002.json"
        lease.write_text(lease.read_text().replace(socket.gethostname(), "node9"))
        assert trials.describe_owner(trial) == f"process {os.getpid()} of node9"
        os.utime(lease, (time.time() - 100,) * 2)
        assert trials.describe_owner(trial) == ""
    assert said == [f"trial-002: {here} is at work on it; who is last confirms the winner"]


def test_the_winner_is_the_first_of_the_best() -> None:
    nothing = np.zeros((0, 0))
    values = [0.5, None, 0.7, 0.7]
    trials = [Trial(n, {}, "done", nothing, value=value) for n, value in enumerate(values)]
    assert find_winner(trials, low_is_better=False) is trials[2]
    assert find_winner(trials, low_is_better=True) is trials[0]
    assert find_winner([], low_is_better=False) is None
