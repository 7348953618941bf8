"""How likely a larger model finds the texts that smaller ones wrote.

The judge may have another tokenizer, so losses are in nats per character.
"""

import statistics
from collections.abc import Sequence

from lmcore.evaluation.sliding_window import sliding_token_nats
from lmcore.experiments.run_folder import Run
from lmcore.model.gpt import GPT
from lmcore.tasks.text_corpus import TextCorpus


def judged(judge: GPT, corpus: TextCorpus, texts: Sequence[str]) -> list[float]:
    """Return the judge's loss on each of texts that is not empty, in nats per character.

    A text is read from the end of a story on, in windows that overlap by half. Its own end is not
    scored: texts that reached the limit of length have none.
    """
    out = []
    for text in filter(None, texts):
        ids = corpus.tokenizer.encode_array(text)
        nats, _ = sliding_token_nats(judge, ids, judge.config.context_length // 2, corpus.eos_id)
        out.append(nats.sum().item() / len(text))
    return out


def by_sampling(
    judge: GPT, corpus: TextCorpus, runs: Sequence[Run]
) -> dict[tuple[float, float], float]:
    """Return the judge's mean loss on the texts kept of runs, by (temperature, top-p)."""
    texts: dict[tuple[float, float], list[str]] = {}
    for run in runs:
        for entry in run.outcome["history"]["sampling"]:
            setting = (entry["temperature"], entry["top_p"])
            texts.setdefault(setting, []).extend(entry["texts"])
    return {setting: statistics.fmean(judged(judge, corpus, t)) for setting, t in texts.items()}
