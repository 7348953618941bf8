"""A small run for torchrun to start; process 0 writes what happened to a file.

Usage: python tests/processes.py FOLDER STEPS
"""

import json
import sys
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from made import PLAIN, TINY, text_source

from lmcore.model.gpt import GPT
from lmcore.training import parallel
from lmcore.training.config import EvaluationConfig, OptimizerConfig, TrainConfig
from lmcore.training.loop import train

CONFIG = TrainConfig(
    batch_size=4,
    epochs=2,
    order="sequential",
    optimizer=OptimizerConfig(lr=0.01, kind="adamw", weight_decay=0.1),
    evaluation=EvaluationConfig(eval_at=(2,)),
)


def losses(folder, n_records):
    """Return what the records of the run say, and the sum of each weight in the end."""
    torch.manual_seed(0)
    model = GPT(TINY)
    runtime = replace(PLAIN, grad_accum_steps=2 // parallel.world(), checkpoint_every_s=0.0)
    source = text_source(CONFIG.batch_size)
    with closing(train(model, CONFIG, source, runtime, folder)) as records:  # frees the folder
        found = [
            {"step": r.step, "loss": r.loss, "norm": r.grad_norm, "scores": sorted(r.scores)}
            for r in islice(records, n_records)
        ]
    return {"records": found, "weights": [p.sum().item() for p in model.parameters()]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with parallel.group():
        told = losses(folder / "checkpoints", int(sys.argv[2]))
        (folder / f"process{parallel.rank()}.json").write_text(json.dumps(told))
