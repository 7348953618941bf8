"""lmcore live: watch a model memorise a table of arithmetic, then solve it."""

from tqdm.auto import tqdm

from lmcore.studies.grokking.live import live_variant, watch
from lmcore.training.runtime import keep_large_blocks


def run(operation: str = "/", p: int = 97, seed: int = 0, steps: int | None = None) -> None:
    """Watch a model memorise a table of arithmetic, then solve it. Then use `ask`.

    Args:
        operation: One of + - * /.
        p: The modulus, a prime for division.
        seed: The seed of weights, sets and batches.
        steps: The number of steps; the study's by default.
    """
    keep_large_blocks()
    experiment = live_variant(operation, p, seed, steps)
    print(f"a {operation} b mod {p}: trained on half of the table, tested on pairs it never sees")
    for record in watch(experiment):
        if not record.scores:  # it diverged, and the error that follows says how
            continue
        shares = [record.scores[name].accuracy for name in ("train", "validation")]
        bars = [f"{'█' * round(20 * share):20} {share:4.0%}" for share in shares]
        tqdm.write(f"step {record.step:4}  training {bars[0]}   never seen {bars[1]}")
    a, b = min(5, p - 1), min(7, p - 1)
    print(f'now ask: python -m lmcore ask "{a} {operation} {b} mod {p}"')
