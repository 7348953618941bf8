"""lmcore runs: what runs there are, in what they differ, and how well they did."""

from pathlib import Path
from typing import Annotated

import tyro

from lmcore.experiments.find_runs import find_runs
from lmcore.files import whole_file
from lmcore.report import plotting
from lmcore.report.run_table import labels, selected, shown
from lmcore.studies import all_studies

DEFAULT_FOLDERS = ("runs", "results")


def run(
    folders: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER ...]")
    ] = (),
    where: tuple[str, ...] = (),
    sort: str | None = None,
    descending: bool = False,
    csv: Path | None = None,
    plot: Path | None = None,
) -> None:
    """List runs with the settings in which they differ, their length and their validation loss.

    Args:
        folders: Runs, or folders of runs at any depth. Without any, runs and results here.
        where: Only runs that meet all of these, such as "d_model>=128" "seed=0" "name!=first".
        sort: Column to sort by, such as bpb or lr.
        descending: Sort from greatest to least.
        csv: Write all columns to this file.
        plot: Draw validation curves to this file, such as curves.svg or curves.png.
    """
    given = folders or tuple(Path(name) for name in DEFAULT_FOLDERS if Path(name).is_dir())
    if not given:
        raise ValueError("there is no folder runs or results here: name a folder of runs")
    kinds = {name: study.config_type for name, study in all_studies().items()}
    runs, frame = selected(find_runs(given, kinds), where, sort, descending)
    if not runs:
        raise ValueError(f"no run meets {' and '.join(where)}")
    print(shown(frame))
    if csv is not None:
        with whole_file(csv) as path:
            frame.to_csv(path, index=False)
        print(f"wrote {csv}")
    if plot is not None:
        plotting.use_style()
        fig = plotting.validation_curves(runs, labels(frame["folder"].tolist()))
        with whole_file(plot) as path:
            fig.savefig(path, format=plot.suffix.lstrip(".") or "svg")
        print(f"wrote {plot}")
