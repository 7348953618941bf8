# %% [markdown]
# # Stories: the notebook
#
# **What decides how well a small model writes stories, and what tells overfitting from a bug?**
#
# A model that reads 50 stories again and again learns them by heart, and its validation loss turns
# and rises. Validation tokens of another tokenizer look as bad from the first score on, and
# counting tokens shows the mistake before any training. Of single changes, the place of the
# norm, the batch size and the learning rate matter most. The tables have the numbers.
#
# With the committed results this notebook takes seconds. Each run trains half a million parameters
# on at most half a million tokens, about a minute on one CPU core. At smoke scale it needs no
# results.
#
# [![Open in Colab](../docs/colab.svg)](https://colab.research.google.com/github/lmcore/lmcore/blob/main/notebooks/05_stories.ipynb)
# [![Open in Binder](../docs/binder.svg)](https://mybinder.org/v2/gh/lmcore/lmcore/main?labpath=notebooks/05_stories.ipynb)

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
# ## Experiments
#
# All runs are on a proxy, with three seeds that were chosen before any of them was run. The table
# shows how the overfitting run and the run with a bug differ from the healthy one.

# %%
from lmcore.experiments.runner import load_finished
from lmcore.report import plotting
from lmcore.report import tables as compare
from lmcore.studies.stories import STUDY, experiments, figures, tables, text_figures

planned = experiments.proxies()
if SCALE == "smoke":
    fewer = experiments.proxies("overfitting", "repairs", "learning rate", most=1)
    planned = [STUDY.smoke(experiment) for experiment in fewer[:11]]
compare.settings([e for e in planned if e.name in experiments.CURVES["overfitting"]])

# %% [markdown]
# ## Runs
#
# Finished runs are loaded. At smoke scale they are trained now.

# %%
runs = STUDY.run(planned) if SCALE == "smoke" else load_finished(planned)

# %% [markdown]
# ## Checks
#
# The claims in the text are checked on these runs. The notebook stops here if one fails.

# %%
if SCALE == "full":
    STUDY.check_claims(runs)

# %% [markdown]
# ## Overfitting, or a bug?

# %%
#| label: fig-stories-overfitting
#| caption: Training and validation loss of a healthy run, an overfitting one, and one with a bug.
trio = [run for run in runs if run.config.name in tables.TRIO]
fig = figures.plot_overfitting(trio)
plotting.save(fig, "fig-stories-overfitting", trio)

# %%
#| label: tbl-stories-overfitting
#| caption: What tells them apart.
tables.overfitting_table(runs)

# %%
#| label: fig-stories-repairs
#| caption: Validation loss of the overfitting run and of five repairs.
repairs = [run for run in runs if run.config.name in figures.REPAIR_COLORS]
fig = figures.plot_repairs(repairs)
plotting.save(fig, "fig-stories-repairs", repairs)

# %%
#| label: tbl-stories-repairs
#| caption: The same in numbers.
tables.changes_table(runs, "repairs", "few-stories")

# %% [markdown]
# ## One change at a time
#
# Each run differs from the reference in one thing and reads as many tokens.

# %%
#| label: fig-stories-changes
#| caption: How much higher each change ends, nats per token, by seed.
changed = [run for run in runs if run.config.name in experiments.sweep_names()]
fig = figures.plot_changes(changed)
plotting.save(fig, "fig-stories-changes", changed)

# %% [markdown]
# ### The learning rate

# %%
#| label: fig-stories-rates
#| caption: Final loss against the learning rate; a seed is a dot, hollow if worse than guessing.
rated = [run for run in runs if run.config.name in experiments.SWEEPS["learning rate"]]
fig = figures.plot_rates(rated)
plotting.save(fig, "fig-stories-rates", rated)

# %%
#| label: tbl-stories-rates
#| caption: The same in numbers, mean and standard deviation over seeds.
tables.rates_table(rated)

# %% [markdown]
# ### Norms and positions

# %%
#| label: fig-stories-norms
#| caption: How much higher each change ends, nats per token, by seed.
normed = experiments.compared(runs, "norms and positions")
fig = figures.plot_group(normed, "norms and positions")
plotting.save(fig, "fig-stories-norms", normed)

# %%
#| label: tbl-stories-norms
#| caption: The same in numbers, mean and standard deviation over seeds.
tables.changes_table(runs, "norms and positions")

# %% [markdown]
# ### The MLP

# %%
#| label: fig-stories-mlp
#| caption: Final loss against the width of the MLP; a dot is a seed.
mlps = experiments.compared(runs, "MLP")
fig = figures.plot_widths(mlps)
plotting.save(fig, "fig-stories-mlp", mlps)

# %%
#| label: tbl-stories-mlp
#| caption: The same in numbers, mean and standard deviation over seeds.
tables.changes_table(runs, "MLP")

# %% [markdown]
# ### Dropout

# %%
#| label: fig-stories-dropout
#| caption: Final loss against dropout where no story is read twice; a dot is a seed.
dropped = experiments.compared(runs, "dropout")
fig = figures.plot_dropout(dropped)
plotting.save(fig, "fig-stories-dropout", dropped)

# %%
#| label: tbl-stories-dropout
#| caption: The same in numbers, mean and standard deviation over seeds.
tables.changes_table(runs, "dropout")

# %% [markdown]
# ### Batch size

# %%
#| label: fig-stories-batch
#| caption: Final loss against the batch size at equal tokens; a dot is a seed.
batched = experiments.compared(runs, "batch size")
fig = figures.plot_batches(batched)
plotting.save(fig, "fig-stories-batch", batched)

# %%
#| label: tbl-stories-batch
#| caption: The same in numbers, mean and standard deviation over seeds.
tables.changes_table(runs, "batch size")

# %% [markdown]
# ## The way of scoring

# %%
#| label: tbl-stories-strides
#| caption: The same 16,000 validation tokens in windows that overlap.
tables.stride_table(runs)

# %% [markdown]
# ## Is the text any good?

# %%
#| label: tbl-stories-samples
#| caption: What the first seed's model writes after some steps, from nothing, at temperature 1.
tables.samples_table(runs)

# %%
#| label: fig-stories-text
#| caption: Metrics of generated text during training.
watched = [run for run in runs if run.config.name in ("baseline", "few-stories")]
fig = text_figures.plot_text(watched)
plotting.save(fig, "fig-stories-text", watched)

# %%
#| label: fig-stories-sampling
#| caption: Metrics of generated text against temperature and top-p.
healthy = [run for run in runs if run.config.name == "baseline"]
fig = text_figures.plot_sampling(healthy)
plotting.save(fig, "fig-stories-sampling", healthy)

# %%
#| label: fig-stories-loss-and-text
#| caption: Metrics of generated text against validation loss, a dot for each run.
known = text_figures.healthy_runs(runs)
fig = text_figures.plot_loss_and_text(known)
plotting.save(fig, "fig-stories-loss-and-text", known)

# %% [markdown]
# ## What would change our mind
#
# - Each repair was tried at one strength, so another order would not surprise us.
# - All single changes share one learning rate. A change that ends higher may only want another one.
# - We say that counting tokens shows a wrong tokenizer before any training. Two tokenizers whose
#   first merges agree, and a model so small that it knows only those tokens, would prove us wrong.

# %% [markdown]
# ## Exercises
#
# A run takes about a minute. Write down your prediction first.
#
# 1. Train on 200 stories, as below. How many passes is that, and at which step does the validation
#    loss turn?
# 2. Stop the learning rate from falling: `schedule.min_lr_ratio` of 1. Which of the learning rates
#    above gains most from the decay?
# 3. Double the tokens of `no-norm`. Does it catch up with the reference, or does it fall behind?
# 4. Draw texts at temperature 0.8 with top-p 0.5. Which metric tells them from training stories?
# 5. Give the validation text the tokenizer of the other split at a vocabulary of 300
#    (`validation_tokenizer="validation"`). Does counting tokens still show it?
#
# %% [markdown]
# A run of your own starts like this:
#
# ```python
# from dataclasses import replace
# from lmcore.experiments.runner import run_or_load
# task = replace(experiments.BASELINE.task, n_train_stories=200)
# mine = replace(experiments.BASELINE, study="mine", name="200-stories", task=task)
# run = run_or_load(mine, STUDY.probe)
# ```

# %%
notebook.stamp("05_stories", trio)
