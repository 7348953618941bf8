"""List the studies."""

from lmcore.studies import all_studies


def list_studies() -> None:
    """List the studies with their questions."""
    for name, study in all_studies().items():
        print(f"{name:20} {study.question}")
