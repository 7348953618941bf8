"""Experiments fitted to the text that they get: the vocabulary that it has, and no other's runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmcore.config import with_fields
from lmcore.experiments.batch import Show
from lmcore.experiments.experiment import Experiment, prepared
from lmcore.files import read_json
from lmcore.tasks.file_text import GENERATED, FileTextConfig
from lmcore.tasks.text_corpus import TextCorpus


def on_text(experiment: Experiment, text: str) -> Experiment:
    """Return experiment on the text file of this name, if its text comes from a file."""
    if not isinstance(experiment.task, FileTextConfig) or experiment.task.text == GENERATED:
        return experiment
    return replace(experiment, task=replace(experiment.task, text=text))


def fitted(
    experiments: Sequence[Experiment],
    data: Path | None = None,
    show: Show | None = None,
    progress: bool = False,
) -> list[Experiment]:
    """Return experiments with the vocabulary that their text has, where it has a smaller one.

    The texts are prepared by the way, so that processes that train side by side only read them.
    show takes a line about each vocabulary that is not reached.

    Raises:
        ValueError: a text is missing, or a finished run was made from another text.
    """
    out = []
    for experiment in experiments:
        if isinstance(experiment.task, FileTextConfig):
            corpus = prepared(experiment, experiment.root / ".cache/corpus", data, progress)
            assert isinstance(corpus, TextCorpus), "as its config is a FileTextConfig"
            experiment = with_reached_vocabulary(experiment, corpus, show)
            require_same_text(experiment, corpus.origin)
        out.append(experiment)
    return out


def with_reached_vocabulary(
    experiment: Experiment, corpus: TextCorpus, show: Show | None
) -> Experiment:
    """Return experiment with the vocabulary of corpus, if it is smaller than its own."""
    asked, reached = experiment.task.vocab_size, corpus.tokenizer.vocab_size
    if reached == asked:
        return experiment
    if show:
        show(
            f"{corpus.name} gives a vocabulary of {reached:,}, not {asked:,}: "
            f"{experiment.name} is trained with {reached:,}"
        )
    return with_fields(experiment, {"task.vocab_size": reached, "model.vocab_size": reached})


def require_same_text(experiment: Experiment, origin: dict[str, Any]) -> None:
    """Raise ValueError if experiment's finished run was made from another text than origin's."""
    folder = experiment.root / "results" / experiment.path
    if not (folder / "config.json").exists():
        return
    stored = read_json(folder / "config.json").get("config", {}).get("task", {})
    before = read_json(folder / "environment.json").get("data", {})
    has_other_name = stored.get("text") != origin["text"]
    has_other_hash = before.get("text_sha256") != origin["text_sha256"]
    same_task = FileTextConfig(**stored) == experiment.task if not has_other_name else False
    if has_other_name or (same_task and has_other_hash):
        raise ValueError(
            f"{folder} is finished on {stored.get('text')} ({before.get('text_sha256', '')[:12]}), "
            f"this is {origin['text']} ({origin['text_sha256'][:12]}): take another --study for "
            "this text, or move the folder away"
        )
