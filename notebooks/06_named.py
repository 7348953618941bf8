# %% [markdown]
# # Named experiments: the notebook
#
# **Which of a dozen named changes to a small model help, at equal steps and at equal time?**
#
# At an eighth of the published size, a wider embedding helps and a smaller vocabulary harms, in
# bits per byte, also where the time is equal. The tables have the numbers and how many seeds there
# are.
#
# With the committed results this notebook takes seconds. Each run trains for half a minute to a
# minute and a half on one CPU core. At smoke scale the notebook needs no results.
#
# [![Open in Colab](../docs/colab.svg)](https://colab.research.google.com/github/lmcore/lmcore/blob/main/notebooks/06_named.ipynb)
# [![Open in Binder](../docs/binder.svg)](https://mybinder.org/v2/gh/lmcore/lmcore/main?labpath=notebooks/06_named.ipynb)

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
# The table shows the settings in which the experiments on width differ, at an eighth of their
# published size.

# %%
from lmcore.experiments.runner import load_finished
from lmcore.report import plotting
from lmcore.report import tables as compare
from lmcore.studies.named import STUDY, experiments, figures, measures, tables

planned = experiments.all_experiments()
if SCALE == "smoke":
    first = experiments.all_experiments(experiments.SEEDS[:1])
    planned = [STUDY.smoke(experiment) for experiment in first]
shown = [experiments.scaled_name(name, measures.PART) for name in measures.WIDTHS["baseline"]]
compare.settings([experiment for experiment in planned if experiment.name in shown])

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
# ## Which changes help?

# %%
#| label: tbl-named-changes
#| caption: Scores of the experiments that have run, and what each changed.
tables.changes_table(runs)

# %%
#| label: fig-named-changes
#| caption: What each change did to bits per byte at equal steps. Points are seeds, bars their mean.
eighths = figures.eighths(runs)
plotting.save(figures.plot_each_change(runs), "fig-named-changes", eighths)

# %%
#| label: fig-named-learning
#| caption: Bits per byte against tokens and against time. Bands go from least to greatest seed.
plotting.save(figures.plot_learning(runs), "fig-named-learning", eighths)

# %%
#| label: fig-named-costs
#| caption: Bits per byte against size and time. Green is the Pareto front.
plotting.save(figures.plot_against_costs(runs), "fig-named-costs", eighths)

# %% [markdown]
# ## Does the scale matter?

# %%
#| label: tbl-named-scales
#| caption: The same changes at an eighth and at a quarter of the published size.
tables.scales_table(runs)

# %% [markdown]
# ## How wide?

# %%
#| label: fig-named-widths
#| caption: Bits per byte against width, with the power law through the runs.
plotting.save(figures.plot_widths(runs), "fig-named-widths", eighths)

# %%
#| label: tbl-named-widths
#| caption: The power law's exponent and its standard error.
tables.width_table(runs)

# %% [markdown]
# ## What would change our mind
#
# All of it is far from trained: an eighth of the published run reads a quarter of a million tokens.
# A longer run at which a small vocabulary or a narrow embedding is better would prove us wrong, and
# so would a learning rate tuned for each size, which was not done.

# %%
notebook.stamp("06_named", eighths)
