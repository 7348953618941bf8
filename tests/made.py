"""Small inputs and references that several tests share."""

import contextlib
import hashlib
import resource
from itertools import pairwise

import numpy as np
import regex

from lmcore.model import ModelConfig
from lmcore.tokens import TokenInfo, Tokens
from lmcore.train import Runtime

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern as GPT-2's authors published it."""

TINY = ModelConfig(
    vocab_size=31, context_length=8, d_model=16, n_layers=2, n_heads=2, d_ff=32, dropout=0.0
)
PLAIN = Runtime(device="cpu", precision="float32", compile="no")


def as_tokens(ids, characters=None, n_bytes=None):
    """Return ids as a token stream that stands for a text of these sizes."""
    ids = np.asarray(ids)
    info = TokenInfo(
        tokenizer="made by hand",
        dtype=ids.dtype.str,
        n_tokens=len(ids),
        n_documents=1,
        characters=characters or len(ids),
        bytes=n_bytes or characters or len(ids),
        text_sha256="",
        sha256=hashlib.sha256(ids.tobytes()).hexdigest(),
        documents_sha256="",
    )
    return Tokens(ids, np.zeros(1, dtype=np.int64), info)


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
