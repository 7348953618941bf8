"""What is kept of a model that was trained on a text: what it writes after fixed prompts."""

from typing import Any

from lmcore.generation.language_model import LanguageModel
from lmcore.model.gpt import GPT
from lmcore.tasks.text_corpus import TextCorpus

PROMPTS = ("It was", "She looked at", "In the morning")
N_TOKENS = 24
TEMPERATURE = 0.8


def probe(model: GPT, corpus: TextCorpus) -> dict[str, Any]:
    """Return a sample for each prompt, text i drawn with seed i."""
    lm = LanguageModel(model, corpus.tokenizer, (corpus.eos_id,))
    texts = lm.generate([*PROMPTS], N_TOKENS, temperature=TEMPERATURE, seed=0)
    return {
        "samples": [
            {"prompt": prompt, "temperature": TEMPERATURE, "seed": seed, "text": text}
            for seed, (prompt, text) in enumerate(zip(PROMPTS, texts, strict=True))
        ]
    }
