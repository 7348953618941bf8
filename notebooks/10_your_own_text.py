# %% [markdown]
# # A model of your own text
#
# **How do you train a small language model on any text, and how do you know that it works?**
#
# Prepare the text, choose a shape, train, look at the curves, then generate: each is a line or two.
# The text here is Python's own manual, because every Python has it. Put yours in its place.
#
# It takes under three minutes on two CPU cores, and downloads nothing. On Colab, a GPU is
# faster but not needed.
#
# [![Open in Colab](../docs/colab.svg)](https://colab.research.google.com/github/lmcore/lmcore/blob/main/notebooks/10_your_own_text.ipynb)
# [![Open in Binder](../docs/binder.svg)](https://mybinder.org/v2/gh/lmcore/lmcore/main?labpath=notebooks/10_your_own_text.ipynb)

# %% tags=["remove-cell"]
import importlib.util
import os
import subprocess
import sys

if "google.colab" in sys.modules:  # the branch or tag that the badge above opens
    ref, source, folder = "main", "https://github.com/lmcore/lmcore", "/content/lmcore"
    if not os.path.isdir(folder):
        subprocess.run(["git", "clone", "-q", "--depth=1", "-b", ref, source, folder], check=True)
    if importlib.util.find_spec("lmcore") is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", folder], check=True)
    os.chdir(f"{folder}/notebooks")
from lmcore.report import notebook

notebook.start()

# %% tags=["parameters"]
SCALE = "full"

# %% [markdown]
# ## The text
#
# For a text of your own, take one of the three lines in the comment. A folder, JSON lines, CSV and
# Parquet work too. `folder` holds everything that is made here. Name a folder that stays, and the
# next session resumes in it; on Colab that is `notebook.drive("my-text")`.

# %%
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from lmcore.files import write_text

folder = Path(tempfile.mkdtemp())
manual = "<|endoftext|>".join(topics.values())
text = folder / "manual.txt"
write_text(text, manual if SCALE == "full" else manual[:60_000])
# text = "my-novel.txt"
# text = notebook.text_file("https://www.gutenberg.org/cache/epub/11/pg11.txt", folder)
# text = notebook.text_file("upload", folder)

# %% [markdown]
# ## Prepare it
#
# This trains a tokenizer on nine tenths of the text and writes the token ids of both parts. The
# other tenth is for validation. Run it again and nothing happens, because nothing has changed.

# %% tags=["live"]
import lmcore
from lmcore.report.tables import Table

prepared = lmcore.prepare(text, folder / "data", lmcore.PrepareConfig(vocab_size=1_000))
shown = ("vocab_size", "split", "bytes_per_token", "validation_bytes_per_token")
Table(shown, (tuple(str(prepared.report[name]) for name in shown),))

# %% [markdown]
# A token is a piece of text that is frequent in this text. Rare words are made of several, and
# every byte has a token, so that no text is unknown.

# %% tags=["live"]
ids = prepared.tokenizer.encode("The import statement loads a module, naïvely.")
tokens = [repr(prepared.tokenizer.decode([id])) for id in ids]
Table(("id", "token"), tuple((str(id), token) for id, token in zip(ids, tokens, strict=True)))

# %% [markdown]
# ## Choose a model
#
# A preset has a value for everything; here are your own numbers on top of it. A wrong name or an
# impossible combination is an error that says what to do.

# %% tags=["live"]
steps = 300 if SCALE == "full" else 20
shape = {"d_model": 128, "n_layers": 2, "n_heads": 4, "context_length": 128}
plan = {"batch_size": 16, "steps": steps, "eval_every": steps // 5, "lr": 3e-3}
config = lmcore.text_run(prepared, "tiny", **shape, **plan)
epochs = steps * 16 * 128 / prepared.train.info.n_tokens
cost = (config.model.n_parameters, config.model.flops_per_token)
Table(
    ("parameters", "operations per token", "passes over the text"),
    ((f"{cost[0]:,}", f"{cost[1]:,}", f"{epochs:.1f}"),),
)

# %% [markdown]
# ## Train it
#
# `train()` yields a record after each step. You can print, plot or save them. With a folder for
# checkpoints you can stop the kernel, run the cell again, and it resumes.

# %% tags=["live"]
#| label: live-text-training
#| caption: Loss of one run against steps; the training loss is the mean over a twentieth of them.
import torch

from lmcore.experiments.text_run import text_task

torch.manual_seed(0)
model, task = lmcore.GPT(config.model), text_task(prepared, config)
records = list(lmcore.train(model, config.train, task, checkpoints=folder / "checkpoints"))
lmcore.learning_curves(records)

# %% [markdown]
# The validation loss is on text that the model has not seen. While both curves fall, more steps
# help. When the validation loss turns and rises, the model is learning the training text by heart.
# To watch the curves while it trains: `notebook.follow(lmcore.train(...), lmcore.learning_curves)`.
#
# ## Train it longer
#
# The same folder and a greater length: the new model takes the weights of the last checkpoint.

# %% tags=["live"]
#| label: live-text-longer
#| caption: The same run, a third longer.
from lmcore.config import with_fields

longer = with_fields(config.train, steps=steps * 4 // 3)
model = lmcore.GPT(config.model)
records += lmcore.train(model, longer, task, checkpoints=folder / "checkpoints")
lmcore.learning_curves(records)

# %% [markdown]
# ## How good is it?
#
# Nats per token depend on the tokenizer, bits per byte can be compared with any other model.
# Windows that overlap give each token more of the text before it, so their loss is lower.

# %% tags=["live"]
lm = lmcore.LanguageModel(model, prepared.tokenizer)
held_out = prepared.tokenizer.decode(prepared.validation.ids[:5_000].tolist())
scores = {"side by side": lm.score(held_out), "overlapping": lm.score(held_out, stride=32)}
Table(
    ("windows", "nats/token", "perplexity", "bits/byte"),
    tuple(
        (name, f"{score.loss:.3f}", f"{score.perplexity:.1f}", f"{score.bpb:.3f}")
        for name, score in scores.items()
    ),
)

# %% [markdown]
# ## Save it, load it, let it write
#
# A saved model is a folder that can be moved. Temperature 0 always takes the most probable token,
# and repeats itself.

# %% tags=["live"]
lmcore.save(folder / "model", model, prepared.tokenizer)
lm, prompt = lmcore.load(folder / "model"), "The import statement"
texts = {t: lm.generate(prompt, 60, temperature=t, top_p=0.95) for t in (0.0, 0.5, 1.0)}
Table(("temperature", "text"), tuple((f"{t}", prompt + after) for t, after in texts.items()))

# %% [markdown]
# The same folder opens in transformers, because this model has the shape of a Llama:
#
# ```python
# from transformers import AutoModelForCausalLM, AutoTokenizer
#
# model = AutoModelForCausalLM.from_pretrained(folder / "model")
# tokenizer = AutoTokenizer.from_pretrained(folder / "model")
# ```

# %% tags=["live"]
from lmcore.files import read_json

files = ", ".join(sorted(path.name for path in (folder / "model").iterdir()))
opens_as = read_json(folder / "model" / "config.json")["architectures"]
Table(("files", "transformers opens it as"), ((files, ", ".join(opens_as)),))

# %% [markdown]
# ## Compare two runs
#
# `train_text` trains in a folder that holds the whole run: configuration, losses, samples,
# checkpoints and the model. A finished run is loaded. Here the second run does not know the order
# of the tokens, except through the causal mask.

# %% tags=["live"]
#| label: live-text-comparison
#| caption: Two runs, one seed each. Lines with points are validation loss, thin ones training loss.
runs = {}
for name in ("rope", "none"):
    changes = {"positions": name, "steps": steps // 2, "eval_every": steps // 10}
    runs[name] = lmcore.train_text(prepared, folder / "runs" / name, with_fields(config, changes))
lmcore.learning_curves(runs)

# %% tags=["live"]
from lmcore.report.frames import runs_frame

frame = runs_frame(list(runs.values()))
frame[["name", "model.positions", "n_parameters", "validation.loss", "validation.bpb"]].round(3)

# %% [markdown]
# One run of each is not evidence: another seed moves the loss too. `with_fields(config, seed=1)`
# repeats a run with other first weights and another order of batches.

# %% [markdown]
# ## The same on the command line
#
# ```bash
# lmcore go my-novel.txt                      # all of it, in about two minutes
# lmcore prepare my-novel.txt --out data --vocab-size 1000
# lmcore train data --out runs/first --preset tiny --model.d-model 128 --train.steps 300
# lmcore train data --out runs/first --extend-to 400
# lmcore evaluate runs/first another.txt --html losses.html
# lmcore generate runs/first "Once upon a time" --temperature 0.8
# lmcore export runs/first hf --to transformers
# lmcore runs runs --plot curves.svg
# ```

# %% [markdown]
# ## Exercises
#
# Predict the result before you run it, and write your prediction down.
#
# 1. **Your own text.** Change `text` and run everything. Is it harder to predict than the manual,
#    in bits per byte?
# 2. **Vocabulary.** Change `vocab_size` to 300, then to 4,000. What happens to the tokens of the
#    sentence, to nats per token, and to bits per byte? Which of them can be compared?
# 3. **Learning rate.** Change `lr` to 3e-4, then to 0.1. Which curve is flat, and which is wild?
# 4. **Overfitting.** Keep only the first 20,000 characters of the text. At which step does the
#    validation loss turn? Does `dropout=0.2` move it?

# %% [markdown]
# 5. **Stop it.** Give `folder` a path that stays, interrupt the kernel during training, restart it
#    and run everything. From which step does it resume?
# 6. **Size.** Double `d_model`. By how much does the number of parameters grow? By how much does
#    the loss fall at equal steps, and at equal time?
# 7. **Seeds.** Repeat both runs of the comparison with `seed=1` and `seed=2`. Is the difference
#    between them larger than the spread?
# 8. **Temperature.** At which temperature does the model stop repeating itself? At which does it
#    stop writing words? Does `top_p=0.8` change that?

# %%
notebook.stamp("10_your_own_text")
