"""lmcore studies: the studies with their questions."""

from lmcore.studies import all_studies


def run() -> None:
    """List the studies with their questions."""
    for name, study in all_studies().items():
        print(f"{name:20} {study.question}")
