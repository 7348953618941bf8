"""The command line: the functions that the notebooks call, a file for each command."""

import io
import sys


def main() -> int:
    """Run the command line and return its exit status.

    The commands take seconds to import. Ctrl-C in that time ends in one line too. What a terminal
    has no sign for is shown as ?, so that no run ends because of its encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from lmcore.cli.commands import run_command
    except KeyboardInterrupt:
        print("lmcore: stopped", file=sys.stderr)
        return 130
    return run_command()
