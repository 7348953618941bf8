"""Run an experiment at most once: load a finished run, resume an interrupted one, or start it."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from lmcore.boundary import checked
from lmcore.config import config_hash
from lmcore.experiments.cost import cost
from lmcore.experiments.environment import environment, peak_bytes
from lmcore.experiments.experiment import (
    Experiment,
    RunConfig,
    flops_per_step,
    prepared,
    steps_of,
    task_of,
)
from lmcore.experiments.progress import show_progress, speed_to_compare
from lmcore.experiments.run_folder import Run, RunWriter, load_run
from lmcore.files import require_writable
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Task
from lmcore.tasks.titles import TitlesConfig
from lmcore.training import parallel
from lmcore.training.checkpoint import weights_by_step
from lmcore.training.loop import train
from lmcore.training.metrics import Metric
from lmcore.training.records import DivergedError, Record
from lmcore.training.runtime import Runtime

Probe = Callable[[GPT, Any], dict[str, Any]]
Watch = Callable[[Record], None]
History = Callable[[Iterator[tuple[int, GPT]], GPT, Any], dict[str, Any]]
"""A study's measurements of the weights saved during training, given as (step, model)."""


def load(experiment: RunConfig, results: Path | None = None) -> Run | None:
    """Return experiment's finished run, or None where there is none yet.

    results is the folder of finished runs, by default that of the experiment's scale.

    Raises:
        ValueError: the folder holds a run of another config, or a damaged one.
    """
    folder = (results or experiment.root / "results") / experiment.path
    if not folder.exists():
        return None
    run = load_run(folder, type(experiment))
    if run.config != experiment:
        raise ValueError(
            f"{folder} holds a run of another config ({config_hash(run.config)}, "
            f"not {config_hash(experiment)}): move it away, or name the experiment otherwise"
        )
    return run


def require_same_text(run: Run, data: Path | None) -> None:
    """Raise ValueError if data is given and holds other titles than a finished run was made from.

    A run on something else than titles is not checked.
    """
    task = getattr(run.config, "task", None)
    if data is None or not isinstance(task, TitlesConfig) or task.source == "generated":
        return
    before, now = run.environment["data"]["text_sha256"], task.text_sha256(data)
    if before != now:
        raise ValueError(
            f"{run.folder} is finished on the text {before[:12]}, but {data} holds {now[:12]}: "
            "leave data out to load it, or move it away to train on this text"
        )


def load_finished(experiments: Sequence[RunConfig]) -> list[Run]:
    """Return those runs of experiments that are finished."""
    return [run for experiment in experiments if (run := load(experiment))]


@checked
def run_or_load(
    experiment: Experiment,
    probe: Probe,
    *,
    history: History | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    results: Path | None = None,
    progress: bool = True,
    metrics: Mapping[str, Metric] | None = None,
    watch: Watch | None = None,
) -> Run:
    """Return experiment's run: load it if it is finished, else train it or resume its training.

    metrics are recorded with each score; they are not part of the config, so a finished run is
    loaded without new ones. watch is called with each record once it is stored; an error that it
    raises ends the training, and the run stays unfinished.

    An unfinished run is in scratch and moves to results when it is done. After training, the
    test set is scored once, and what probe returns is saved with the scores. A run that diverged
    is a result too: its outcome holds the reason and no scores.

    Raises:
        ValueError: text or a folder is missing, damaged, of another config, or another process
            writes to it.
        KeyboardInterrupt: as in `train`; the next call resumes the run.
    """
    results = results or experiment.root / "results"
    finished = load(experiment, results)
    if finished:
        require_same_text(finished, data)
        return finished
    if parallel.rank() == 0:
        require_writable((results / experiment.path).parent)
    folder = (scratch or experiment.root / "runs") / experiment.path
    with contextlib.ExitStack() as stack:
        with parallel.first_goes_first():
            cache = experiment.root / ".cache/corpus"
            corpus = prepared(experiment, cache, data, progress)
            is_first = parallel.rank() == 0
            writer = stack.enter_context(RunWriter(folder, experiment)) if is_first else None
            # Another process may have finished it meanwhile.
            if finished := load(experiment, results):
                return finished
            if writer:
                writer.drop_newer_checkpoints()
        return _trained(
            experiment, probe, history, runtime, corpus, folder, results, writer, progress, metrics,
            watch,
        )  # fmt: skip


def _trained(
    experiment: Experiment,
    probe: Probe,
    history: History | None,
    runtime: Runtime | None,
    corpus: Any,
    folder: Path,
    results: Path,
    writer: RunWriter | None,
    progress: bool,
    metrics: Mapping[str, Metric] | None,
    watch: Watch | None,
) -> Run:
    """Train experiment on corpus, write its run with writer, and return it.

    A process without a writer is not the first of its group; it only takes part in the training.
    """
    started = time.process_time()
    torch.manual_seed(experiment.seed)
    model = GPT(experiment.model)
    source = task_of(experiment, corpus)
    flops = steps_of(experiment, source) * flops_per_step(experiment)
    resolved = (runtime or Runtime()).resolve(flops, experiment.train.precision)
    records = train(
        model,
        experiment.train,
        source,
        resolved,
        folder / "checkpoints",
        metrics=metrics,
        before_checkpoint=writer.sync if writer else None,
        show=lambda line: None,  # a run that was killed after its last step is finished below
    )
    if writer is None:
        for _ in records:
            pass
        with parallel.first_goes_first():
            return _finished(experiment, results)
    writer.check_text(corpus.origin["text_sha256"])
    session = environment(resolved)
    if experiment.train.within_documents:
        session["document_attention"] = resolved.document_attention(experiment.model.dropout)
    writer.note_session(session)
    writer.note_environment({"data": corpus.origin})
    try:
        for record in with_bar(records, experiment, source, resolved, progress):
            writer.add(record_to_dict(record))
            if watch:
                watch(record)
    except DivergedError as error:
        tqdm.write(f"{experiment.path.as_posix()} diverged: {error}", file=sys.stderr)
        outcome = {"diverged": str(error)}
    else:
        with resolved.autocast():
            tests = corpus.test_scores(model)
            outcome = {name: asdict(score) for name, score in tests.items()}
            outcome["probe"] = probe(model, corpus)
        if history and experiment.train.evaluation.keep_weights:
            weights = weights_by_step(folder / "checkpoints", model)
            outcome["history"] = history(weights, model, corpus)
    writer.note_environment(
        {
            "training_s": writer.records()[-1]["elapsed_s"],
            "cpu_s": round(time.process_time() - started, 2),
            "peak_bytes": peak_bytes(resolved),
        }
    )
    with parallel.first_goes_first():
        writer.finish(outcome, results / experiment.path)
    return _finished(experiment, results)


def _finished(experiment: Experiment, results: Path) -> Run:
    run = load(experiment, results)
    assert run is not None, f"{experiment.path} was just written"
    return run


@checked
def run_all(
    experiments: list[Experiment],
    probe: Probe,
    *,
    history: History | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
) -> list[Run]:
    """Return the runs of all experiments by `run_or_load`; at full scale, first print the cost."""
    waiting = [e for e in experiments if e.scale == "full" and load(e) is None]
    if waiting:
        tqdm.write(cost(waiting, runtime or Runtime()), file=sys.stderr)
    places = {"runtime": runtime, "data": data, "scratch": scratch}
    return [run_or_load(e, probe, history=history, **places) for e in experiments]


def with_bar(
    records: Iterator[Record], experiment: Experiment, source: Task, runtime: Runtime, shown: bool
) -> Iterator[Record]:
    """Pass the records of experiment on, with a bar; see `show_progress`."""
    steps = steps_of(experiment, source)
    flops = steps * flops_per_step(experiment) if shown else 0
    return show_progress(
        records,
        name=experiment.path.as_posix(),
        steps=steps,
        flops_per_token=experiment.model.flops_per_token,
        speed=speed_to_compare(runtime, flops),
        shown=shown,
    )


def record_to_dict(record: Record) -> dict[str, Any]:
    """Return a record as metrics.jsonl has it: without None, time in hundredths of a second."""
    known = {name: value for name, value in asdict(record).items() if value is not None}
    scores, metrics = known.pop("scores"), known.pop("metrics")
    finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    return known | {"elapsed_s": round(record.elapsed_s, 2)} | scores | finite
