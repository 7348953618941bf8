# %% [markdown]
# # The AdamW swap: the notebook
#
# **What does swapping SGD for AdamW buy on headlines, and does it depend on how each is tuned?**
#
# A lower loss, and more than half of the gain is a learning rate that SGD could have had too. The
# table of steps has the numbers.
#
# With the committed results this notebook takes seconds. Each of about eighty runs trains 0.9
# million parameters for one epoch, which takes about a minute on one CPU core. This budget is
# smaller than the baseline's, so their numbers cannot be compared. At smoke scale it needs no
# results.
#
# [![Open in Colab](../docs/colab.svg)](https://colab.research.google.com/github/lmcore/lmcore/blob/main/notebooks/02_adamw_swap.ipynb)
# [![Open in Binder](../docs/binder.svg)](https://mybinder.org/v2/gh/lmcore/lmcore/main?labpath=notebooks/02_adamw_swap.ipynb)

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
# Every optimizer is tuned over the same number of learning rates on two seeds. All are then
# compared on three other seeds, chosen before any of them was run. The table shows the settings
# that differ.

# %%
from lmcore.experiments.runner import load_finished
from lmcore.report import exercise, plotting
from lmcore.report import tables as compare
from lmcore.report.source import source
from lmcore.studies.adamw_swap import STUDY, experiments, figures, tables
from lmcore.studies.headlines.tables import ladder

planned = experiments.sweeps()
if SCALE == "smoke":
    planned = [STUDY.smoke(experiment) for experiment in experiments.sweeps(most=1)]
shown = experiments.NAMES.values()
compare.settings([experiment for experiment in planned if experiment.name in shown])

# %% [markdown]
# The tuning runs are made by two loops:

# %%
source(experiments, "tuning")

# %% [markdown]
# ## Runs
#
# Finished runs are loaded, others are trained after their cost is printed. A run that diverges is a
# result too, and the sweep continues.

# %%
runs = STUDY.run(planned)
compared = [run for run in runs if run.config.name in shown]
tuning = [run for run in runs if run.config.name.startswith("tune-")]
large = load_finished([*STUDY.compared_with(), *experiments.large()])

# %% [markdown]
# ## Checks
#
# The claims in the text are checked on these runs. The notebook stops here if one fails.

# %%
if SCALE == "full":
    STUDY.check_claims([*runs, *large])

# %% [markdown]
# ## Figures and tables
#
# The figure of learning rates draws a dot for each seed, and a hollow one for a run that diverged.
# These are the lines:

# %%
source(figures, "plot_rates", first="for lr in contender.rates:", last="clip_on")

# %%
#| label: tbl-adamw-swap-steps
#| caption: What each step gained.
tables.findings(runs)

# %% [markdown]
# At the baseline's size, SGD and AdamW are tuned over four rates each on another seed. These runs
# are separate from the sweeps.

# %%
#| label: tbl-adamw-swap-ladder
#| caption: The same swap at the baseline's size.
ladder(large)

# %%
#| label: tbl-adamw-swap-large-rates
#| caption: Learning rates tried at the baseline's size.
tables.large_rates_table(large)

# %%
#| label: fig-adamw-swap-loss
#| caption: Validation loss against optimizer steps.
fig = figures.plot_loss(compared)
plotting.save(fig, "fig-adamw-swap-loss", compared)

# %%
#| label: fig-adamw-swap-rates
#| caption: Final loss against the learning rate.
fig = figures.plot_rates(tuning)
plotting.save(fig, "fig-adamw-swap-rates", tuning)

# %%
#| label: tbl-adamw-swap-optimizers
#| caption: Settings, scores and time of each optimizer.
tables.optimizer_table(runs)

# %%
#| label: fig-adamw-swap-inside
#| caption: Gradient norm and size of updates.
fig = figures.plot_inside(compared)
plotting.save(fig, "fig-adamw-swap-inside", compared)

# %%
#| label: fig-adamw-swap-next-token
#| caption: The likeliest next tokens at batch 0, time 10.
fig = figures.plot_next_token(compared)
plotting.save(fig, "fig-adamw-swap-next-token", compared)

# %%
#| label: fig-adamw-swap-ablations
#| caption: One change at a time.
changed = [run for run in runs if run.config.name.startswith("ablation-")]
fig = figures.plot_ablations([*changed, *compared])
plotting.save(fig, "fig-adamw-swap-ablations", [*changed, *compared])

# %%
#| label: tbl-adamw-swap-ablations
#| caption: The same in numbers.
tables.ablation_table(runs)

# %% [markdown]
# ## What would change our mind
#
# We say that the best SGD is far behind the best AdamW. If SGD comes close with a learning rate for
# each kind of weight, or in a longer run, then the gap is one of this recipe and not of the
# optimizers. The sweeps use one small model and one epoch. At the baseline's size and seven epochs
# we ran SGD without momentum and AdamW, at rates a factor of two apart.

# %% [markdown]
# ## Exercises
#
# `try_change`, shown below, trains the small version of an experiment as it is and with one change,
# on generated titles, in seconds. Say what you expect, then run a line in a new cell.

# %% [markdown]
# **1. No warmup.** The first steps of AdamW know little about the second moments. What does
# skipping the warmup cost?
#
# ```python
# exercise.try_change(STUDY, experiments.compared()[3], {"train.schedule.warmup_steps": 0})
# ```

# %% [markdown]
# **2. A rate that is too high.** AdamW's valley is narrow. What happens far to its right?
#
# ```python
# exercise.try_change(STUDY, experiments.compared()[3], {"train.optimizer.lr": 0.1})
# ```

# %% [markdown]
# **3. Another optimizer.** Which ends lower after so few steps, Muon or AdamW?
#
# ```python
# muon = {"kind": "muon", "lr": 0.01, "momentum": 0.95}
# changes = {f"train.optimizer.{field}": value for field, value in muon.items()}
# exercise.try_change(STUDY, experiments.compared()[3], changes)
# ```

# %%
source(exercise, "try_change")

# %%
notebook.stamp("02_adamw_swap", compared)
