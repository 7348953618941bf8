# %% [markdown]
# # The tokenizer: the notebook
#
# **What does a byte-level BPE gain from more entries, and lose on text of another kind?**
#
# A larger vocabulary makes fewer tokens, with ever smaller gains, and a tokenizer trained on other
# text needs more tokens. Nothing here is random, so there are no seeds and no bands. Times and
# memory come from alternating runs with other libraries.
#
# With the committed results this notebook takes seconds. Measuring everything again takes minutes
# on a CPU (`python -m lmcore run tokenizer --data FOLDER`). At smoke scale (`SCALE = "smoke"`) it
# needs no results and takes less than a minute.
#
# [![Open in Colab](../docs/colab.svg)](https://colab.research.google.com/github/lmcore/lmcore/blob/main/notebooks/00_tokenizer.ipynb)
# [![Open in Binder](../docs/binder.svg)](https://mybinder.org/v2/gh/lmcore/lmcore/main?labpath=notebooks/00_tokenizer.ipynb)

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
# ## Surveys
#
# Each survey names its texts and vocabulary sizes. The last tenth of every text is held out: no
# tokenizer learns from it.

# %%
from lmcore.report import plotting
from lmcore.report import tables as compare
from lmcore.report.source import source
from lmcore.studies.tokenizer import STUDY, claims, costs, figures, surveys, tables

planned = STUDY.experiments()

if SCALE == "smoke":
    planned = [STUDY.smoke(survey) for survey in planned]
compare.settings(planned)

# %% [markdown]
# A survey is a generator of rows. This one measures the first figure below.

# %%
source(surveys, "compression")

# %% [markdown]
# ## Runs
#
# Finished surveys are loaded, others are measured. Costs come from the benchmarks, which compare
# with other libraries.

# %%
runs = {run.config.name: run for run in STUDY.run(planned)}
training = costs.benchmark_rows(SCALE, "bpe_training")
encoding = costs.benchmark_rows(SCALE, "encoding")
scaling = costs.benchmark_rows(SCALE, "tokenizer_scaling")

# %% [markdown]
# ## Checks
#
# The claims in the text are checked on these runs. The notebook stops here if one fails.

# %%
if SCALE == "full":
    STUDY.check_claims(list(runs.values()))
    claims.check_costs(training, encoding, scaling)

# %% [markdown]
# ## Figures and tables
#
# A figure is a function of a run. The first one, whole:

# %%
source(figures, "plot_compression")

# %%
#| label: fig-tokenizer-compression
#| caption: Bytes per token against entries in the vocabulary.
fig = figures.plot_compression(runs["compression"])
plotting.save(fig, "fig-tokenizer-compression", [runs["compression"]])

# %%
#| label: fig-tokenizer-sample
#| caption: More tokens on held-out text where less text was learned from.
fig = figures.plot_sample(runs["sample"])
plotting.save(fig, "fig-tokenizer-sample", [runs["sample"]])

# %%
#| label: fig-tokenizer-domains
#| caption: More tokens with the tokenizer of another text than with a text's own.
fig = figures.plot_domains(runs["domains"])
plotting.save(fig, "fig-tokenizer-domains", [runs["domains"]])

# %%
#| label: tbl-tokenizer-longest
#| caption: The longest tokens of each vocabulary.
tables.longest_table(runs["longest"])

# %%
#| label: fig-tokenizer-alphabets
#| caption: Tokens per character of BPE over bytes and over characters.
fig = figures.plot_alphabets(runs["alphabets"])
plotting.save(fig, "fig-tokenizer-alphabets", [runs["alphabets"]])

# %%
#| label: tbl-tokenizer-alphabets
#| caption: Alphabets, characters they lack, and tokens beside those of BPE over bytes.
tables.alphabet_table(runs["alphabets"])

# %%
#| label: fig-tokenizer-evaluator
#| caption: What the challenge's evaluator scores, and a public sweep as reported and corrected.
fig = figures.plot_evaluator(runs["evaluator"])
plotting.save(fig, "fig-tokenizer-evaluator", [runs["evaluator"]])

# %%
#| label: fig-tokenizer-training
#| caption: Time and memory of BPE training beside other libraries.
fig = figures.plot_contest(training, costs.median_s, "seconds")
files = costs.benchmark_files(SCALE, "bpe_training")
plotting.save(fig, "fig-tokenizer-training", [runs["growth"]], files)

# %%
#| label: fig-tokenizer-encoding
#| caption: Speed and memory of encoding a file beside other libraries.
fig = figures.plot_contest(encoding, costs.megabytes_per_s, "MB of text per second")
files = costs.benchmark_files(SCALE, "encoding")
plotting.save(fig, "fig-tokenizer-encoding", [runs["growth"]], files)

# %%
#| label: fig-tokenizer-scaling
#| caption: Time and memory against the text and against entries in the vocabulary.
fig = figures.plot_scaling(scaling)
files = costs.benchmark_files(SCALE, "tokenizer_scaling")
plotting.save(fig, "fig-tokenizer-scaling", [runs["growth"]], files)

# %%
#| label: tbl-tokenizer-plan
#| caption: What training would take on 1, 10 and 100 GB, reckoned from what was measured.
tables.plan_table(runs["growth"], scaling)

# %% [markdown]
# ## What would change our mind
#
# Four English texts and four languages of manual pages are few. A mixed text such as a web crawl
# may still gain from more text where these stop gaining, and its distinct words may grow faster
# than either exponent here. Compression does not tell how well a model learns. That needs a study
# that trains models on several vocabularies at equal cost.

# %% [markdown]
# ## Exercises
#
# The cell below trains a tokenizer on one short text and cuts another with it. Change one line, say
# what you expect, and run the cell again.

# %% [markdown]
# **1. More merges.** Does "slowest" become one token, although the text does not contain it?
#
# ```python
# vocab_size = 280
# ```

# %% [markdown]
# **2. A blank.** The same word without the blank before it: the same tokens?
#
# ```python
# other = "slowest lowest"
# ```

# %% [markdown]
# **3. Another alphabet.** How many tokens does a character take that the tokenizer has never seen?
#
# ```python
# other = "低い"
# ```

# %%
from lmcore import Tokenizer, train_bpe

text = "low lower lowest slow slower new newer newest " * 10
vocab_size = 264
other = " slowest lowest"
tokenizer = Tokenizer(*train_bpe([text], vocab_size))
[tokenizer.decode_bytes([id]) for id in tokenizer.encode(other)]

# %%
notebook.stamp("00_tokenizer", list(runs.values()))
