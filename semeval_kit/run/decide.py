"""The stages that decide: thresholds and their estimate, answers, what needs no encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semeval_kit.data.examples import Examples
from semeval_kit.data.extra import write_soft
from semeval_kit.decision.rule import Thresholds
from semeval_kit.decision.targets import Rules, decide_labels, rules_from_json
from semeval_kit.errors import KitError
from semeval_kit.files import remove_kept, sha256_file
from semeval_kit.run.directory import Probs, Run, read_json, write_json
from semeval_kit.run.plan import NEW_SPLITS, Say
from semeval_kit.submission.pack import pack_submission, write_predictions
from semeval_kit.submission.score import Score, score_submission

# More rows than these make the floor no better known, only slower.
_MAX_ROWS = 20_000
_MAX_NGRAMS = 50_000


def fit_floor(
    examples: Examples, targets: NDArray[np.float64], folds: NDArray[np.int64], numeric: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Out-of-fold probabilities of word n-grams with logistic (of numbers: ridge) regression.

    Targets are `(n, C)` of 0, 1 and NaN, or numbers; folds `(n,)` are at least two. A pair is read
    after its text.

    Returns:
        Positions of the rows that were used `(m,)`, at most 20,000, and their probs `(m, C)`.
    """
    rows = np.arange(len(examples))
    if len(rows) > _MAX_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MAX_ROWS, replace=False))
    texts = [examples.texts[row] for row in rows]
    if examples.pairs:
        texts = [f"{text} {examples.pairs[row]}" for text, row in zip(texts, rows, strict=True)]
    probs = np.full((len(rows), targets.shape[1]), np.nan)
    for fold in np.unique(folds[rows]):
        held_out = folds[rows] == fold
        grams = _vectorize([t for t, out in zip(texts, held_out, strict=True) if not out], texts)
        for column, gold in enumerate(targets[rows].T):
            train = ~held_out & ~np.isnan(gold)
            probs[held_out, column] = _predict(grams[train], gold[train], grams[held_out], numeric)
    return rows, probs


def pack(run: Run, say: Say) -> Path | None:
    """Decode the probabilities, write the organisers' files and zip them.

    Returns:
        The zip, read back and validated; None where the test files are not there.

    Raises:
        KitError: the thresholds are missing, the zip would be rejected, or a cross-lingual run
            has seen a language that it predicts.
    """
    _require_unseen(run)
    rules = read_rules(run)
    packed: dict[str, Path] = {}
    for split in NEW_SPLITS:
        if not all(run.probs_file(split, language).is_file() for language in run.languages):
            continue
        examples = run.read_split(split)
        preds = decode_split(run, rules, split, examples)
        languages = np.asarray(examples.languages)
        for language in run.languages:
            rows = np.flatnonzero(languages == language)
            path = run.pred_file(split, language)
            write_predictions(run.task, language, examples.take(rows), preds[rows], path)
            if split == "test":
                packed[language] = path
    if not packed:
        say(f"{run.path}: no test predictions, so there is no zip yet")
        return None
    return pack_files(run, packed, say)


def pack_files(run: Run, files: Mapping[str, Path], say: Say) -> Path:
    """Zip prediction files, {language: path}, and tell what is odd about them.

    Raises:
        KitError: the zip would be rejected.
    """
    data = run.data
    checked = pack_submission(run.task, files, run.zip_file, data, data=data)
    scored_zip = read_json(run.score_file).get("zip_sha256") if run.score_file.is_file() else None
    if scored_zip != sha256_file(run.zip_file):
        remove_kept(run.score_file)  # it is the score of another zip
    for warning in checked.warnings:
        if warning != checked.missing_note:  # the run's languages were asked for
            say(f"warning: {warning}")
    return Path(run.zip_file)


def decode_split(run: Run, rules: Rules, split: str, examples: Examples) -> Any:
    """Decide the labels of a split, `(n_examples, n_labels)` in the order of examples."""
    parts = {language: run.read_probs(split, language) for language in run.languages}
    for language, probs in parts.items():
        ids = tuple(
            i for i, g in zip(examples.ids, examples.languages, strict=True) if g == language
        )
        if probs.ids != ids:
            raise KitError(
                f"{run.probs_file(split, language)}: its ids are not those of the {split} file "
                "any more. Run `semeval-kit probs` again."
            )
    values = np.concatenate([parts[g].values for g in dict.fromkeys(examples.languages)])
    return decide_labels(run.task, rules, values, examples.languages)


def score(run: Run, gold: Path | None, say: Say) -> Score | None:
    """Score the zip as the organisers would, where reference labels are known."""
    place = run.find_gold(gold)
    if place is None or not run.zip_file.is_file():
        return None
    result = score_submission(run.task, run.zip_file, place)
    stored = {"gold": str(place), "zip_sha256": sha256_file(run.zip_file), **result.to_json()}
    write_json(run.score_file, stored)
    return result


def read_rules(run: Run) -> dict[str, Thresholds]:
    """The rule of each target that the run predicts.

    Raises:
        KitError: the run is not tuned.
    """
    return rules_from_json(run.task, read_json(run.thresholds_file))


def spell_soft_labels(run: Run, split: str, sure: float = 0.0) -> tuple[str, int, int]:
    """Probabilities of a split as a file of extra rows.

    Args:
        run: whose probabilities of the split are there.
        split: dev or test.
        sure: rows are kept whose least certain target is at least so certain, max(p, 1 - p); of
            single labels, whose most probable one is so probable.

    Returns:
        The CSV, the number of its rows, and that of the split's.

    Raises:
        KitError: the split has not been predicted, or no row is sure enough.
    """
    examples = run.read_split(split)
    whole = Probs.concat([run.read_probs(split, language) for language in run.languages])
    probs = whole.order(examples.keys).values
    certain = np.maximum(probs, 1 - probs).min(axis=1)
    if run.task.kind == "singlelabel":
        certain = probs.max(axis=1)
    kept = np.flatnonzero(certain >= sure) if sure else np.arange(len(examples))
    if not len(kept):
        raise KitError(
            f"{run.path}: no row of {split} is {sure:g} certain; the most certain one is "
            f"{certain.max():.3f}. Lower --sure."
        )
    return write_soft(run.task, examples.take(kept), probs[kept]), len(kept), len(examples)


def _vectorize(train: list[str], texts: list[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    for pattern in (r"(?u)\b\w\w+\b", r"(?u)\S"):  # words; signs, where there are no words
        grams = TfidfVectorizer(
            ngram_range=(1, 2),
            token_pattern=pattern,
            min_df=2,
            max_features=_MAX_NGRAMS,
            sublinear_tf=True,
        )
        try:
            return grams.fit(train).transform(texts)
        except ValueError:  # nothing occurs twice
            continue
    from scipy.sparse import csr_matrix

    return csr_matrix((len(texts), 1))


def _predict(train: Any, gold: NDArray[np.float64], held_out: Any, numeric: bool) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if not len(gold) or gold.min() == gold.max():
        return np.full(held_out.shape[0], gold[0] if len(gold) else 0.0)
    if numeric:
        return Ridge(alpha=1.0).fit(train, gold).predict(held_out)
    model = LogisticRegression(C=4.0, class_weight="balanced", solver="liblinear", random_state=0)
    return model.fit(train, gold).predict_proba(held_out)[:, 1]


def _require_unseen(run: Run) -> None:
    """Prove from the run's files that a cross-lingual run saw no language that it predicts."""
    if not run.task.cross_lingual:
        return
    seen = {language for language, _ in run.read_folds()} | set(run.settings["train_languages"])
    both = sorted(seen & set(run.languages))
    if both:
        raise KitError(
            f"{run.folds_file}: holds rows of {', '.join(both)}, which the run predicts; "
            f"task {run.task.name} forbids that. No zip is made; start a run without them."
        )
