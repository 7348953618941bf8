"""In how many steps does a small transformer solve division, at the median and in the tail?

Hypothesis: a few seeds describe the median well and the tail not at all; recipes differ more in
their tails than in their medians; and a recipe tuned for one modulus is slower at others.

A race trains one recipe on many seeds, each from new weights, split and batches, until validation
accuracy has held 99 % for five evaluations. It counts the step at which those began. A run keeps
one line and no weights, so this study has run folders of many seeds in the place of one.

The rules: one layer of 128 features, as in the grokking study; no use of the answer's structure in
the model, the loss or the order of rows; the same settings for all seeds; a seed that does not
solve its table counts as slower than all that do.

Scientific hyperparameters: head and optimizer, the share of the table, the modulus.
Nuisance hyperparameters: the seed; learning rate and decay, tuned at half of the table modulo 97.
Fixed hyperparameters: the operation, the model's size, batches of 512 rows.
"""

from dataclasses import dataclass, replace

from lmcore.config import with_fields
from lmcore.experiments import experiment
from lmcore.experiments.experiment import Experiment, RunConfig
from lmcore.studies.grokking.experiments import LONG, METHODS, TUNED, variant

FIRST_SEED = 1001
"""Chosen before any was run; no recipe was tuned on these seeds."""
N_SEEDS = 200
N_SEEDS_A_PRIME = 20
RECIPES = {
    "plain-adamw": "AdamW",
    "cosine-adamw": "cosine head",
    "cosine-muon": "cosine head, Muon",
}
"""The method of the grokking study whose tuned setting a recipe takes."""
SHARES = {0.5: 2_000, 0.3: 4_000, 0.2: 8_000}
"""Shares of the table, and the steps after which a run counts as not solved."""
PRIMES = (31, 43, 59, 67, 79, 89, 97, 113, 131, 151, 173, 197)
EVERY = 10
"""Steps between evaluations, which is how exact the counted step is."""


@dataclass(frozen=True, kw_only=True)
class Race(RunConfig):
    """One experiment on many seeds."""

    study: str = "speedrun"
    """The study that the run belongs to."""
    seed: int = FIRST_SEED
    """The first seed; the others follow it."""
    n_seeds: int
    """How many seeds."""
    experiment: Experiment
    """What each seed trains. Its own seed and that of its table are replaced."""

    def of_seed(self, seed: int) -> Experiment:
        """Return what a seed trains."""
        task = replace(self.experiment.task, seed=seed)
        return replace(self.experiment, seed=seed, task=task)


def recipe(name: str, share: float = 0.5, p: int = 97) -> Experiment:
    """Return a recipe for a share of the table modulo p."""
    base = variant(
        name,
        LONG,
        task={"train_fraction": share, "p": p},
        **METHODS[RECIPES[name]].setting(*TUNED[RECIPES[name]]),
    )
    plan = {"steps": SHARES[share], "eval_at": (), "eval_every": EVERY}
    return replace(base, study="speedrun", train=with_fields(base.train, plan))


def shares() -> list[Race]:
    """Return each recipe at each share of the table modulo 97."""
    return [
        Race(name=f"{name}-share{share:g}", n_seeds=N_SEEDS, experiment=recipe(name, share))
        for share in SHARES
        for name in RECIPES
    ]


def primes() -> list[Race]:
    """Return the recipes with a cosine head at half of the table, modulo each prime."""
    return [
        Race(name=f"{name}-p{p}", n_seeds=N_SEEDS_A_PRIME, experiment=recipe(name, p=p))
        for name in RECIPES
        if name != "plain-adamw"
        for p in PRIMES
    ]


def all_experiments() -> list[Race]:
    """Return every race."""
    return [*shares(), *primes()]


def smoke(race: Race) -> Race:
    """Return the small version of race: two seeds of the small version of its experiment."""
    return replace(race, n_seeds=2, experiment=experiment.smoke(race.experiment), scale="smoke")
