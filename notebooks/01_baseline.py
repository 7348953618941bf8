# %% [markdown]
# # The baseline: the notebook
#
# **What does a small GPT learn from 90,000 headlines with plain SGD?**
#
# Less than how often each token occurs. The tables below have the scores of three seeds, and the
# page of this study says what they mean.
#
# With the committed results this notebook takes seconds. A full run trains 27 million parameters
# on 8 million tokens, about an hour and a half on two CPU cores. At smoke scale (`SCALE =
# "smoke"`) it needs no results and takes less than a minute.
#
# [![Open in Colab](../docs/colab.svg)](https://colab.research.google.com/github/lmcore/lmcore/blob/main/notebooks/01_baseline.ipynb)
# [![Open in Binder](../docs/binder.svg)](https://mybinder.org/v2/gh/lmcore/lmcore/main?labpath=notebooks/01_baseline.ipynb)

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
SEEDS = (1337, 1338, 1339)

# %% [markdown]
# ## Experiments
#
# Only the seed varies. Later studies change one thing of this baseline at a time. A second
# experiment checks the whole stack on generated titles whose entropy is known.

# %%
from lmcore.report import exercise, plotting
from lmcore.report import tables as compare
from lmcore.report.source import source
from lmcore.studies.baseline import STUDY, experiments, figures, tables
from lmcore.studies.headlines.diagrams import plot_model

planned = experiments.all_experiments(SEEDS)
if SCALE == "smoke":
    planned = [STUDY.smoke(experiment) for experiment in planned]
compare.settings(planned)

# %% [markdown]
# An experiment is a value. The check on known entropy, for example:

# %%
source(experiments, "KNOWN_ENTROPY")

# %% [markdown]
# ## Runs
#
# Finished runs are loaded, others are trained after their cost is printed, and interrupted runs
# resume from the last checkpoint. On Colab, `scratch=notebook.drive()` keeps unfinished runs on
# your Drive.

# %%
runs = STUDY.run(planned)
headlines = [run for run in runs if run.config.name == "sgd"]
known = [run for run in runs if run.config.name == "known-entropy"]

# %% [markdown]
# ## Checks
#
# The claims in the text are checked on these runs. The notebook stops here if one fails.

# %%
if SCALE == "full":
    STUDY.check_claims(runs)

# %% [markdown]
# ## Figures and tables
#
# A figure is a function of runs. This one draws the loss against the sum of learning rates so far.

# %%
source(figures, "plot_path")

# %%
#| label: fig-baseline-model
#| caption: The model and the shape of a batch in it.
fig = plot_model(headlines[0].config.model, headlines[0].config.train.batch_size)
plotting.save(fig, "fig-baseline-model", headlines)

# %%
#| label: tbl-baseline-scores
#| caption: Scores after the last step, mean and standard deviation over seeds.
compare.scores({"headlines": headlines, "known entropy": known})

# %%
#| label: fig-baseline-loss
#| caption: Validation loss against optimizer steps.
fig = figures.plot_validation(headlines)
plotting.save(fig, "fig-baseline-loss", headlines)

# %%
#| label: fig-baseline-path
#| caption: Validation loss against the learning rates summed over steps.
fig = figures.plot_path(headlines)
plotting.save(fig, "fig-baseline-path", headlines)

# %%
#| label: fig-baseline-training
#| caption: Training loss and gradient norm against optimizer steps.
fig = figures.plot_training(headlines)
plotting.save(fig, "fig-baseline-training", headlines)

# %%
#| label: fig-baseline-eos
#| caption: Share of positions where the end of the title is the likeliest next token.
fig = figures.plot_end(headlines)
plotting.save(fig, "fig-baseline-eos", headlines)

# %%
#| label: fig-baseline-frequency
#| caption: How often tokens occur in the training text.
fig = figures.plot_frequency(headlines)
plotting.save(fig, "fig-baseline-frequency", headlines)

# %%
#| label: fig-baseline-next-token
#| caption: The ten likeliest next tokens at batch 0, time 10.
fig = figures.plot_next_token(headlines)
plotting.save(fig, "fig-baseline-next-token", headlines)

# %%
#| label: tbl-baseline-samples
#| caption: Every sample drawn from the first seed's model.
tables.samples_table(headlines[0])

# %%
#| label: fig-baseline-floor
#| caption: The same code on titles of known entropy, with the entropy as the floor.
fig = figures.plot_floor(known)
plotting.save(fig, "fig-baseline-floor", known)

# %% [markdown]
# ## What would change our mind
#
# We say that the curve is flat because the learning rate goes to zero. A run of the same length at
# a constant learning rate that stays on the same plateau would refute this. So would a larger
# learning rate that ends in the same place. The challenge sets the learning rate, and we did not
# tune it here. The next study starts with tuned SGD, which a fair comparison with AdamW needs.
# Fixed throughout: data, split, tokenizer, shape, epochs.

# %% [markdown]
# ## Exercises
#
# `try_change`, shown below, trains the small version of an experiment as it is and with one change,
# on generated titles, in seconds. Say what you expect, then run a line in a new cell.

# %% [markdown]
# **1. A constant learning rate.** The cosine makes the end of the curve flat. Does the loss
# end lower without it?
#
# ```python
# exercise.try_change(STUDY, experiments.BASELINE, {"train.schedule.kind": "constant"})
# ```

# %% [markdown]
# **2. The challenge's learning rate.** The small version has a rate at which it learns well.
# How much does it learn at the rate of the large one?
#
# ```python
# exercise.try_change(STUDY, experiments.BASELINE, {"train.optimizer.lr": 0.006})
# ```

# %% [markdown]
# **3. Momentum.** Under a steady gradient, momentum 0.9 makes steps ten times as long. Does it help
# more than that, or less?
#
# ```python
# exercise.try_change(STUDY, experiments.BASELINE, {"train.optimizer.momentum": 0.9})
# ```

# %%
source(exercise, "try_change")

# %%
notebook.stamp("01_baseline", runs)
