"""Arguments that several commands take."""

from typing import Annotated

import tyro

StudyName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
"""The name of a study, which needs no flag."""
