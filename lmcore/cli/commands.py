"""The commands together, and what a user sees when one fails."""

import sys

import tyro

import lmcore.cli
from lmcore.cli import evaluate, experiments, generate, go, prepare, train
from lmcore.cli.ask import ask
from lmcore.cli.cost import print_cost
from lmcore.cli.live import live
from lmcore.cli.notebooks import notebooks
from lmcore.cli.readme import readme
from lmcore.cli.reproduce import reproduce
from lmcore.cli.run import run
from lmcore.cli.studies import list_studies
from lmcore.cli.upgrade import upgrade
from lmcore.training.records import DivergedError

COMMANDS = {
    "go": go.run,
    "prepare": prepare.run,
    "train": train.command(),
    "generate": generate.run,
    "evaluate": evaluate.run,
    "experiments": experiments.menu,
    "run": run,
    "reproduce": reproduce,
    "live": live,
    "ask": ask,
    "notebooks": notebooks,
    "readme": readme,
    "studies": list_studies,
    "cost": print_cost,
    "upgrade": upgrade,
}


def run_command() -> int:
    """Run the command that the arguments name and return its exit status.

    A user's mistake is one line and status 2, Ctrl-C one line and status 130.
    """
    try:
        commands = dict(COMMANDS)
        if sys.argv[1:2] == ["train"]:
            commands["train"] = train.command(sys.argv[2:])
        if sys.argv[1:2] == ["experiments"] and sys.argv[2:]:
            experiments.run_subcommand(sys.argv[2:])
            return 0
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="lmcore", description=lmcore.cli.__doc__
        )
    except (ValueError, DivergedError, MemoryError) as error:
        print(f"lmcore: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"lmcore: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lmcore: stopped; the same command resumes from the last checkpoint", file=sys.stderr)
        return 130
    return 0
