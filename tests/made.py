"""Small inputs and references that several tests share."""

import contextlib
import hashlib
import random
import resource
import shutil
import subprocess
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import regex
import torch

from lmcore.data.batches import Batches
from lmcore.data.token_files import TokenInfo, Tokens
from lmcore.evaluation.score_types import Score
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.model.rope import RopeScaling
from lmcore.studies.grokking import experiments as grokking
from lmcore.tasks.modular import ModularConfig
from lmcore.tasks.text import TextTask
from lmcore.training.runtime import Runtime

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern as GPT-2's authors published it."""

TINY = ModelConfig(
    vocab_size=31, context_length=8, d_model=16, n_layers=2, n_heads=2, d_ff=32, dropout=0.0
)
LLAMA = replace(
    TINY, positions="rope", norm="rms", activation="swiglu", bias=False,
    tie_embeddings=False, n_heads=4, n_kv_heads=2,
)  # fmt: skip
KINDS = {
    "baseline": TINY,
    "gpt2": replace(TINY, activation="gelu_tanh", initialisation="gpt2"),
    "llama": LLAMA,
    "stretched": replace(
        LLAMA,
        rope_scaling=RopeScaling(
            factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_length=64
        ),
    ),
    "wide heads": replace(LLAMA, head_size=6, n_kv_heads=1),
    "post-norm": replace(LLAMA, norm_at="post"),
    "no norm": replace(TINY, norm="none"),
    "layer norm without biases": replace(TINY, bias=False),
    "parallel": replace(LLAMA, parallel_residual=True),
    "layer scale": replace(TINY, layer_scale=0.1),
    "qk norm": replace(LLAMA, qk_norm=True, activation="relu2"),
    "sinusoidal": replace(TINY, positions="sinusoidal", activation="silu", embedding_scale=4.0),
    "no positions": replace(TINY, positions="none"),
    "cosine head": replace(LLAMA, head_scale=12.0, initial_scale=4.0, activation="relu"),
}
"""A configuration for each option of the model."""

PLAIN = Runtime(device="cpu", precision="float32", compile="no")


def as_tokens(ids, characters=None, n_bytes=None):
    """Return ids as a token stream for a text of these sizes; documents begin after each id 1."""
    ids = np.asarray(ids)
    documents = np.concatenate([[0], np.flatnonzero(ids[:-1] == 1) + 1])
    info = TokenInfo(
        tokenizer="made by hand",
        eos=None,
        dtype=ids.dtype.str,
        n_tokens=len(ids),
        n_documents=len(documents),
        characters=characters or len(ids),
        bytes=n_bytes or characters or len(ids),
        text_sha256="",
        sha256=hashlib.sha256(ids.tobytes()).hexdigest(),
        documents_sha256="",
    )
    return Tokens(ids, documents, info)


def random_tokens(n, seed=0):
    """Return n tokens of TINY's vocabulary, drawn evenly."""
    drawn = np.random.default_rng(seed).integers(0, TINY.vocab_size, n)
    return as_tokens(drawn.astype(np.uint16))


def made_score(nats, **sizes):
    """Return the score of a text of ten characters and twenty bytes with five of six tokens scored.

    sizes change these numbers.
    """
    made = {"characters": 10, "bytes": 20, "n_tokens": 5, "of_tokens": 6}
    made |= {"n_correct": 1, "n_end_predicted": 1, "n_end": 1}
    return Score(nats=float(nats), **made | sizes)


def text_source(batch_size, tokens=None, validation=None, with_challenge=True):
    """Return a source of random tokens for a model of TINY's context, 1 being <eos>."""
    return TextTask(
        batches=Batches(tokens or random_tokens(2 * 8 * 4 + 1), batch_size, TINY.context_length),
        validation=validation or random_tokens(60, seed=1),
        eos_id=1,
        with_challenge=with_challenge,
    )


def random_ids(rows, length, config=TINY, seed=0):
    """Return random ids of a model's vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (rows, length), generator=generator)


def randomised(config, seed=0, std=0.3):
    """Return a model in evaluation mode whose every number, biases and norms too, is random."""
    torch.manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=std)
    return model


def join_pair(word, pair):
    """Return the list word with each occurrence of pair joined, from left to right."""
    for i, neighbours in enumerate(pairwise(word)):
        if neighbours == pair:
            return [*word[:i], b"".join(pair), *join_pair(word[i + 2 :], pair)]
    return word


def pre_tokens(text):
    """Return the pre-tokens of text, each as a list of single bytes."""
    return [[bytes([b]) for b in piece.encode()] for piece in regex.findall(GPT2, text)]


@contextlib.contextmanager
def small_disk(n_bytes):
    """Let no file grow beyond n_bytes, as if the disk were full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def table_of(operation, p=13):
    """Return the table of an operation modulo p, to be split as the study does."""
    return ModularConfig(operations=(operation,), p=p)


def arithmetic_shape(p, **other):
    """Return the grokking study's shape for numbers below p and one operation, made small."""
    small = {"vocab_size": p + 1, "d_model": 16, "d_ff": 32}
    return replace(grokking.FAST.model, **small | other)


def stopped(words, metrics, n_records, number, *results):
    """Start a program, send it a signal after n_records at a random moment; return how it ended.

    That is its status and its errors. On a busy machine it may be done before the signal comes:
    then it is started again without its results.
    """
    for _ in range(10):
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and (
                not metrics.exists() or metrics.read_bytes().count(b"\n") < n_records
            ):
                time.sleep(0.002)
            time.sleep(random.random() * 0.05)
            process.send_signal(number)
            _, errors = process.communicate(timeout=120)
        if process.returncode:
            break
        for folder in results:
            shutil.rmtree(folder)
    return process.returncode, errors
