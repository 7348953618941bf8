"""Measure a survey at most once: load a finished run or write a new one."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lmcore.experiments.environment import environment
from lmcore.experiments.run_folder import Run, RunWriter, load_run
from lmcore.experiments.runner import load
from lmcore.studies.tokenizer.experiments import Survey
from lmcore.studies.tokenizer.surveys import MEASURES
from lmcore.studies.tokenizer.texts import text_of
from lmcore.training.runtime import Runtime


def run_all(
    surveys: Sequence[Survey], data: Path | None = None, progress: bool = True
) -> list[Run]:
    """Return the run of each survey: loaded if it is finished, otherwise measured now.

    Raises:
        ValueError: a text is missing, or a folder holds a run of another config.
    """
    return [run_or_load(survey, data, progress) for survey in surveys]


def run_or_load(survey: Survey, data: Path | None = None, progress: bool = True) -> Run:
    """Return the run of one survey: loaded if it is finished, otherwise measured now.

    A survey takes seconds to minutes, so an interrupted one starts again.

    Raises:
        ValueError: a text is missing, or a folder holds a run of another config.
    """
    finished = load(survey)
    if finished:
        return finished
    texts = {name: text_of(name, survey, data) for name in survey.texts}
    folder = survey.root / "results" / survey.path
    scratch = survey.root / "runs" / survey.path
    with RunWriter(scratch, survey, is_fresh=True) as writer:
        if finished := load(survey):  # another process may have finished it meanwhile
            return finished
        writer.note_session(environment(Runtime(device="cpu").resolve(0)))
        writer.note_environment({"data": origin(texts)})
        rows = MEASURES[survey.name](survey, texts)
        for step, row in enumerate(tqdm(rows, desc=survey.name, disable=not progress)):
            writer.add({"step": step} | row)
        writer.finish({}, folder)
    return load_run(folder, Survey)


def origin(texts: dict[str, str]) -> dict[str, Any]:
    """Return a hash of each text and one of all of them."""
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    together = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    return {"texts": hashes, "text_sha256": together}
