"""lmcore notebooks: run every notebook and save its outputs and figures."""

from lmcore.experiments.experiment import workspace


def run(small: bool = False) -> None:
    """Run every notebook from its .py and save its outputs and figures.

    Args:
        small: Run at smoke scale, without committed results, and save to .smoke.
    """
    try:
        from lmcore.report.execute import execute
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is missing, and notebooks need it: pip install 'lmcore[notebooks]'"
        ) from None
    folder = workspace() / "notebooks"
    sources = sorted(folder.glob("*.py"))
    if not sources:
        raise ValueError(f"{folder} holds no notebooks: run this in a checkout of the repository")
    for source in sources:
        print(execute(source, "smoke" if small else "full"))
