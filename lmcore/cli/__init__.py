"""The command line: the functions that the notebooks call, a file for each command."""

import sys


def main() -> int:
    """Run the command line and return its exit status.

    The commands take seconds to import. Ctrl-C in that time ends in one line too.
    """
    try:
        from lmcore.cli.commands import run_command
    except KeyboardInterrupt:
        print("lmcore: stopped", file=sys.stderr)
        return 130
    return run_command()
