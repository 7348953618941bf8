"""Tables of modular arithmetic: the answer for every a, b and operation, split into sets.

A row is three tokens, a, b and the operation, and the model predicts the answer at the last one.
"""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lmcore.boundary import Natural, convert_fields
from lmcore.evaluation.scores import Answers, Score, answer_score
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch

N_SCORED = 1024
"""How many rows of the training set are scored."""
SHARES = (0.4, 0.8)
"""Where drawn samples are cut into training, validation and test."""
LENGTH = 3


def quotient(a: np.ndarray, b: np.ndarray, p: int) -> np.ndarray:
    """Return a / b modulo the prime p, and 0 where b is 0."""
    inverses = np.array([pow(int(i), -1, p) if i % p else 0 for i in range(p)])
    return a * inverses[b % p] % p


OPERATIONS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "+": lambda a, b, p: (a + b) % p,
    "-": lambda a, b, p: (a - b) % p,
    "*": lambda a, b, p: a * b % p,
    "/": quotient,
    "a^2+ab+b^2": lambda a, b, p: (a * a + a * b + b * b) % p,
    "a^3+ab": lambda a, b, p: (a * a * a + a * b) % p,
    "a/b if b odd else a-b": lambda a, b, p: np.where(b % 2, quotient(a, b, p), (a - b) % p),
}
DIVIDING = ("/", "a/b if b odd else a-b")


def is_prime(n: int) -> bool:
    """Return whether n is a prime number."""
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


@dataclass(frozen=True, kw_only=True)
class ModularConfig:
    """Which operations modulo p, and how their rows are split: by train_fraction or n_samples."""

    operations: tuple[str, ...]
    """Operations whose tables are joined, each a key of OPERATIONS."""
    p: int
    """The modulus, a prime if an operation divides."""
    train_fraction: float | None = 0.5
    """Share of all rows in the training set; validation and test get half of the rest each, and no
    two sets share a row. None for sets of drawn rows.
    """
    n_samples: int | None = None
    """Rows drawn with replacement and cut 40/40/20, so that sets share rows. Here a goes from 0 to
    p and b from 1 to p; p has its own token and counts as 0, and nothing is divided by it. None for
    a split of the whole table.
    """
    seed: Natural = 0
    """Seed of the split or of the draws."""

    def __post_init__(self):
        convert_fields(self)
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or len(set(self.operations)) != len(self.operations) or not self.operations:
            raise ValueError(
                f"operations {self.operations}: take one or more of {', '.join(OPERATIONS)}"
            )
        if self.p < 2:
            raise ValueError(f"p must be at least 2, not {self.p}")
        if set(self.operations) & set(DIVIDING) and not is_prime(self.p):
            below, above = range(max(self.p, 2), 1, -1), range(self.p + 1, 2 * self.p + 2)
            primes = [next(filter(is_prime, numbers)) for numbers in (below, above)]
            raise ValueError(
                f"p {self.p} is not prime, and division needs an inverse of every number but 0: "
                f"take {' or '.join(map(str, primes))}"
            )
        if (self.train_fraction is None) == (self.n_samples is None):
            raise ValueError(
                f"train_fraction {self.train_fraction} and n_samples {self.n_samples}: set one of "
                "them, and the other to None"
            )
        if self.train_fraction is not None and not 0 < self.train_fraction < 1:
            raise ValueError(f"train_fraction {self.train_fraction} is outside (0, 1)")
        if self.n_samples is not None and self.n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, not {self.n_samples}")

    @property
    def n_numbers(self) -> int:
        """Numbers that have a token: those below p, and p itself if rows are drawn."""
        return self.p + (self.n_samples is not None)

    @property
    def vocab_size(self) -> int:
        """Tokens: one for each number, then one for each operation."""
        return self.n_numbers + len(self.operations)

    @cached_property
    def table(self) -> Int[np.ndarray, "rows four"]:
        """All rows: the tokens of a, b and the operation, and the answer."""
        least_b = 0 if self.n_samples is None else 1
        parts = []
        for number, name in enumerate(self.operations):
            numbers = range(self.n_numbers)
            a, b = np.meshgrid(numbers, range(least_b, self.n_numbers), indexing="ij")
            a, b = a.ravel(), b.ravel()
            if name in DIVIDING[:1]:
                a, b = a[b % self.p > 0], b[b % self.p > 0]
            token = np.full_like(a, self.n_numbers + number)
            parts.append(np.stack([a, b, token, OPERATIONS[name](a, b, self.p)], axis=1))
        return np.concatenate(parts).astype(np.int64)

    def prepare(
        self, cache: Path | None = None, data: Path | None = None, progress: bool = False
    ) -> "Table":
        """Return the table with its sets; cache, data and progress are not used.

        Raises:
            ValueError: a set would be empty.
        """
        rng = np.random.default_rng(self.seed)
        n_rows = len(self.table)
        if self.n_samples is None:
            assert self.train_fraction is not None, "one of the two is given"
            order, n = rng.permutation(n_rows), round(self.train_fraction * n_rows)
            cuts = (n, n + (n_rows - n) // 2)
        else:
            order = rng.integers(n_rows, size=self.n_samples)
            cuts = tuple(round(share * self.n_samples) for share in SHARES)
        sets = np.split(order, cuts)
        if not all(map(len, sets)):
            sizes = ", ".join(map(str, map(len, sets)))
            raise ValueError(
                f"a table of {n_rows} rows leaves a set empty (training, validation, test have "
                f"{sizes} rows): change train_fraction, n_samples or p"
            )
        return Table(self, *sets)

    def small(self) -> tuple["ModularConfig", dict[str, Any], dict[str, Any]]:
        """Return the small version, and the changes to the model and the training plan."""
        config = replace(self, p=11, n_samples=self.n_samples and 100)
        if self.train_fraction is not None:
            config = replace(config, train_fraction=max(self.train_fraction, 0.2))
        shape = {"d_model": 32, "d_ff": 64, "vocab_size": config.vocab_size}
        plan = {"batch_size": 32, "steps": 24, "warmup_steps": 5, "eval_at": (1, 4)}
        return config, shape, plan | {"eval_every": 8}


@dataclass(frozen=True, eq=False)
class Table:
    """A table and its three sets, each an array of row numbers."""

    config: ModularConfig
    train: Int[np.ndarray, "train"]
    validation: Int[np.ndarray, "validation"]
    test: Int[np.ndarray, "test"]

    @property
    def coverage(self) -> float:
        """The share of the table's rows in the training set."""
        return len(np.unique(self.train)) / len(self.config.table)

    @property
    def memoriser(self) -> float:
        """The expected accuracy on the test set of a model that has memorised the training rows and
        guesses all others uniformly.
        """
        is_known = np.isin(self.test, self.train).mean()
        return float(is_known + (1 - is_known) / self.config.p)

    @property
    def origin(self) -> dict[str, Any]:
        """What a run's environment.json says of the data."""
        content = b"".join(self.config.table[part].tobytes() for part in self.sets().values())
        return {
            "table": f"{', '.join(self.config.operations)} modulo {self.config.p}",
            "text_sha256": hashlib.sha256(content).hexdigest(),
            "rows": len(self.config.table),
            "coverage": self.coverage,
            "memoriser": self.memoriser,
            **{f"{name}_rows": len(part) for name, part in self.sets().items()},
        }

    def sets(self) -> dict[str, Int[np.ndarray, "places"]]:
        """Return the row numbers of each set, and of the rows that are not in the training set."""
        out = {"train": self.train, "validation": self.validation, "test": self.test}
        if self.config.n_samples is None:
            return out
        for name in ("validation", "test"):
            out[f"unseen {name}"] = out[name][~np.isin(out[name], self.train)]
        return {name: part for name, part in out.items() if len(part)}

    def rows(self, places: Int[np.ndarray, "places"]) -> tuple[Tensor, Tensor]:
        """Return the tokens of a, b and the operation, and the answers, of rows by number."""
        rows = torch.from_numpy(self.config.table[places])
        return rows[:, :LENGTH].contiguous(), rows[:, LENGTH:].contiguous()

    def source(
        self,
        *,
        batch_size: int,
        context_length: int,
        order: str,
        seed: int,
    ) -> "ModularTask":
        """Return the task of a run with these numbers.

        Raises:
            ValueError: context_length or order does not suit a table.
        """
        if context_length != LENGTH:
            raise ValueError(
                f"a row has {LENGTH} tokens, a, b and the operation: set context_length {LENGTH}, "
                f"not {context_length}"
            )
        if order != "shuffled":
            raise ValueError(f"a table is read in order 'shuffled', not {order!r}")
        return ModularTask(self, batch_size, seed)

    def test_scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the scores of the finished model on the test sets."""
        names = [name for name in self.sets() if name.endswith("test")]
        return {name: self.score(model, name) for name in names}

    def score(self, model: GPT, name: str) -> Answers:
        """Return the score of a set; of the training set only the first rows count."""
        places = self.sets()[name]
        return answer_score(model, *self.rows(places[:N_SCORED] if name == "train" else places))


class ModularTask:
    """Batches from an endless walk through the training rows, in a new order each epoch.

    No row is left out, and a batch may be larger than the training set.
    """

    def __init__(self, table: Table, batch_size: int, seed: int):
        self.table, self.batch_size, self.seed = table, batch_size, seed
        self.rows = table.rows(table.train)
        self.sets = {name: part for name, part in table.sets().items() if "test" not in name}
        self._order: tuple = (None,)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the batches."""
        origin = self.table.origin["text_sha256"]
        return {"order": "shuffled", "seed": self.seed, "rows": origin}

    @property
    def batches_per_epoch(self) -> int:
        """Batches that begin in one epoch."""
        return -(-len(self.table.train) // self.batch_size)

    def batch(self, number: int) -> Batch:
        """Return the batch of this number."""
        n, start = len(self.table.train), number * self.batch_size
        epochs = range(start // n, (start + self.batch_size - 1) // n + 1)
        walk = np.concatenate([self._shuffled(epoch) for epoch in epochs])
        drawn = torch.from_numpy(walk[start % n :][: self.batch_size])
        return Batch(*(part[drawn] for part in self.rows))

    def scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the scores of the training and validation sets, and of unseen validation rows."""
        return {name: self.table.score(model, name) for name in self.sets}

    def _shuffled(self, epoch: int) -> Int[np.ndarray, "rows"]:
        """Return an epoch's order; the latest one is kept."""
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self._order = epoch, rng.permutation(len(self.table.train))
        return self._order[1]


QUESTION = re.compile(r"\s*(-?\d+)\s*([-+*/×÷−])\s*(-?\d+)\s*(?:\(?\s*mod\s+(\d+)\s*\)?)?[\s=?]*")
SIGNS = {"×": "*", "÷": "/", "−": "-"}


def parsed(question: str) -> tuple[int, str, int, int | None]:
    """Return a, the operation, b, and p or None, from text such as 5 / 7 mod 97.

    Raises:
        ValueError: the text is not such a question.
    """
    match = QUESTION.fullmatch(question)
    if not match:
        raise ValueError(f"{question!r} is not a question: ask for example '5 / 7 mod 97'")
    a, sign, b, p = match.groups()
    return int(a), SIGNS.get(sign, sign), int(b), int(p) if p else None
