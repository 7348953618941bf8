"""A tokenizer in a folder, whichever kind it is."""

from collections.abc import Iterable
from pathlib import Path

from lmcore.boundary import checked
from lmcore.files import read_json
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.byte_bpe import Tokenizer


@checked
def load_tokenizer(
    folder: str | Path, special_tokens: Iterable[str] = ("<|endoftext|>",)
) -> BaseTokenizer:
    """Return the tokenizer in folder: tokenizer.json, or GPT-2's vocab.json and merges.txt.

    special_tokens are for GPT-2's files, which do not name them.

    Example:
        tokenizer = load_tokenizer("my-model"); ids = tokenizer.encode("Once upon a time")

    Raises:
        ValueError: the folder holds no tokenizer, or a damaged or unknown one; the message names
            the file.
    """
    folder = Path(folder)
    path, vocab, merges = (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt"))
    if not path.exists():
        if vocab.is_file() and merges.is_file():
            return Tokenizer.load_gpt2(vocab, merges, special_tokens)
        raise ValueError(
            f"{path} is missing, and {folder} has no vocab.json with merges.txt either: name a "
            "folder with a tokenizer"
        )
    stored = read_json(path)
    model = stored.get("model") if isinstance(stored, dict) else None
    if isinstance(model, dict) and model.get("type") == "Unigram":
        try:
            from lmcore.tokenizer.unigram import UnigramTokenizer
        except ModuleNotFoundError as error:
            raise ValueError(f"{path} needs {error.name}: pip install 'lmcore[unigram]'") from None
        return UnigramTokenizer.load(folder)
    return Tokenizer.load(folder)
