"""The menu of lmcore experiments: the same commands, chosen with keys."""

from collections.abc import Callable
from typing import get_args

import questionary

from lmcore.cli.experiments import (
    Running,
    Selection,
    compare,
    details,
    list_experiments,
    run_chosen,
    show,
    status,
)
from lmcore.studies.named.catalog import Scale, catalog
from lmcore.training.runtime import Runtime

QUIT = "quit"


def open_menu() -> None:
    """Ask what to do, do it, and ask again, until the user quits."""
    while True:
        action = questionary.select(
            "lmcore experiments", [*ACTIONS, QUIT], instruction="(arrow keys, enter)"
        ).ask()
        if action in (None, QUIT):
            return
        attempt(ACTIONS[action])


def attempt(action: Callable[[], None]) -> None:
    """Do what was chosen; a mistake is one line, and the menu comes back."""
    try:
        action()
    except (ValueError, OSError) as error:
        show(f"lmcore: {error}")
    except SystemExit:  # a batch of which not every run finished, as its summary says
        pass
    except KeyboardInterrupt:
        show("lmcore: stopped; the same choice resumes from the last checkpoint")


def show_details() -> None:
    """Show one experiment."""
    name = questionary.select("which experiment", described_names()).ask()
    if name:
        details((name,), Selection())


def choose_and_run() -> None:
    """Choose experiments and their size, show the cost, and run them."""
    names = questionary.checkbox("which experiments (space marks)", described_names()).ask()
    scale = names and questionary.select("which size", [*get_args(Scale)]).ask()
    if not scale:
        return
    choice, experiments = Selection(scale=scale), catalog().named(names)
    run_chosen(choice, Running(dry_run=True), experiments)
    if questionary.confirm("run them?").ask():
        run_chosen(choice, Running(runtime=Runtime()), experiments)


def choose_and_compare() -> None:
    """Compare the finished runs of one size."""
    scale = questionary.select("which size", [*get_args(Scale)]).ask()
    if scale:
        compare((), Selection(scale=scale))


def show_status() -> None:
    """Show how far the experiments of one size are."""
    scale = questionary.select("which size", [*get_args(Scale)]).ask()
    if scale:
        status((), Selection(scale=scale))


def described_names() -> list[questionary.Choice]:
    """Return the experiments as choices, each with what it changes."""
    entries = catalog()
    width = max(map(len, entries.experiments))
    return [
        questionary.Choice(f"{name:{width}}  {entries.descriptions.get(name, '')}", value=name)
        for name in entries.experiments
    ]


ACTIONS = {
    "list": list_experiments,
    "details": show_details,
    "run": choose_and_run,
    "compare": choose_and_compare,
    "status": show_status,
}
