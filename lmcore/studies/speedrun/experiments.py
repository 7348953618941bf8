"""In how many steps does a small transformer solve division, at the median and in the tail?

Hypothesis: a few seeds describe the median well and the tail not at all; recipes differ more in
their tails than in their medians; and a recipe tuned for one modulus is slower at others.

A race trains one recipe on many seeds, each from new weights, split and batches, until validation
accuracy has held 99 % for five evaluations. It counts the step at which those began. A seed leaves
one line and no weights, and a run folder holds a heat: some seeds of a race, one after the other.

Scientific hyperparameters: head and optimizer, the share of the table, the modulus.
Nuisance hyperparameters: the seed; learning rate and decay, tuned at half of the table modulo 97.
Fixed hyperparameters: the operation, the model's size, batches of 512 rows.
"""

from dataclasses import dataclass, replace

from lmcore.config import with_fields
from lmcore.experiments import experiment
from lmcore.experiments.experiment import Experiment, RunConfig
from lmcore.studies.grokking.experiments import FAST, LONG, METHODS, SOLVED, TUNED, variant

RULES = (
    "The model has one layer of 128 features, 4 heads and 512 hidden units, and sees a, b and the "
    "operation.",
    "Nothing in the model, the loss, the batches or the initial weights may use the structure of "
    "the answer.",
    "All seeds have the same settings. They were chosen on other seeds.",
    "A seed draws its weights, its split of the table and its batches. Seeds count up from 1001, "
    "and none is left out.",
    "A table is solved at the first of five evaluations in a row with 99 % of the validation pairs "
    "right, a quarter of the table. There is an evaluation every 10 steps.",
    "A seed that does not solve its table within its steps counts as slower than all that do.",
    "Recipes are ranked by the median step, and shown with as many seeds as have run: 20 or more.",
)
"""What a recipe must keep to for a place on the leaderboard."""
FIRST_SEED = 1001
"""Chosen before any was run; no recipe was tuned on these seeds."""
N_SEEDS = 200
HEAT = 20
"""How many seeds of a race share a run folder."""
N_SEEDS_A_PRIME = 20
HEAT_A_PRIME = 5
FASTEST = "fast"
"""The fast recipe of the grokking study: a cosine head, and a learning rate that falls to zero."""
RECIPES = {
    "plain-muon": "Muon",
    "plain-adamw": "AdamW",
    "cosine-adamw": "cosine head",
    "cosine-muon": "cosine head, Muon",
}
"""The method of the grokking study whose tuned setting a recipe takes, at a constant rate."""
SHARES = {0.5: 2_000, 0.3: 4_000, 0.2: 8_000}
"""Shares of the table, and the steps after which a run counts as not solved."""
ACROSS_PRIMES = (FASTEST, "plain-muon", "cosine-adamw")
"""Recipes that run modulo each prime."""
PRIMES = (31, 43, 59, 67, 79, 89, 97, 113, 131, 151, 173, 197)
EVERY = 10
"""Steps between evaluations, which is how exact the counted step is."""


@dataclass(frozen=True, kw_only=True)
class Race(RunConfig):
    """One experiment on some seeds: a heat of a race, which has the race's name."""

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
    task = {"train_fraction": share, "p": p}
    plan = {"eval_at": (), "eval_every": EVERY, "stop_accuracy": SOLVED}
    if name == FASTEST:
        base, setting = FAST, {}
    else:
        base, setting = LONG, METHODS[RECIPES[name]].setting(*TUNED[RECIPES[name]])
        plan |= {"steps": SHARES[share]}
    changed = variant(name, base, task=task, **setting)
    return replace(changed, study="speedrun", train=with_fields(changed.train, plan))


def heats(name: str, what: Experiment, n_seeds: int, heat: int) -> list[Race]:
    """Return the heats of one race."""
    return [
        Race(name=name, seed=first, n_seeds=heat, experiment=what)
        for first in range(FIRST_SEED, FIRST_SEED + n_seeds, heat)
    ]


def shares() -> list[Race]:
    """Return the fast recipe at half of the table modulo 97, and the others at each share of it."""
    cells = [(FASTEST, 0.5), *((name, share) for share in SHARES for name in RECIPES)]
    return [
        race
        for name, share in cells
        for race in heats(f"{name}-share{share:g}", recipe(name, share), N_SEEDS, HEAT)
    ]


def primes() -> list[Race]:
    """Return recipes at half of the table, modulo each prime."""
    return [
        race
        for name in ACROSS_PRIMES
        for p in PRIMES
        for race in heats(f"{name}-p{p}", recipe(name, p=p), N_SEEDS_A_PRIME, HEAT_A_PRIME)
    ]


def all_experiments() -> list[Race]:
    """Return every heat of every race."""
    return [*shares(), *primes()]


def smoke(race: Race) -> Race:
    """Return the small version of race: two seeds of the small version of its experiment."""
    return replace(race, n_seeds=2, experiment=experiment.smoke(race.experiment), scale="smoke")
