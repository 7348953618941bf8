"""lmcore ask: a question for the model that `live` trained."""

from typing import Annotated

import tyro

from lmcore.studies.grokking import live


def run(question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")]) -> None:
    """Print the five likeliest answers to a question, from the model that `live` trained.

    Args:
        question: For example "5 / 7 mod 97".
    """
    answers = live.ask(question)
    right = live.right_answer(question)
    for answer, probability in answers[:5]:
        print(f"{answer:4}  {probability:7.2%}{'  right' if answer == right else ''}")
