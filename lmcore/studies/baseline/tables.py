"""Tables of the baseline."""

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table


def samples_table(run: Run) -> Table:
    """Return every sample of run with its prompt, temperature and seed."""
    rows = tuple(
        (s["prompt"] or "(none)", f"{s['temperature']:g}", str(s["seed"]), s["text"] or "(empty)")
        for s in run.outcome["probe"]["samples"]
    )
    return Table(("prompt", "temperature", "seed", "continuation"), rows)
