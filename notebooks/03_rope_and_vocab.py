# %% [markdown]
# # RoPE and vocabulary size: the notebook
#
# **What do rotary positions, attention within titles and the vocabulary's size buy on headlines?**
#
# RoPE and a larger vocabulary lower the loss; attention within titles takes back what RoPE gains.
# The table of steps has the numbers.
#
# With the committed results this notebook takes seconds. Each of about eighty runs is one epoch:
# one to ten minutes on one CPU core. At smoke scale it needs no results.
#
# [![Open in Colab](../docs/colab.svg)](https://colab.research.google.com/github/lmcore/lmcore/blob/main/notebooks/03_rope_and_vocab.ipynb)
# [![Open in Binder](../docs/binder.svg)](https://mybinder.org/v2/gh/lmcore/lmcore/main?labpath=notebooks/03_rope_and_vocab.ipynb)

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
# The table shows the settings in which the kinds of positions differ. All use AdamW as tuned in the
# previous study. A longer warmup and other vocabulary sizes follow.

# %%
from lmcore.config import with_fields
from lmcore.experiments.runner import load_finished
from lmcore.report import exercise, plotting
from lmcore.report import tables as compare
from lmcore.report.source import source
from lmcore.studies.headlines import diagrams
from lmcore.studies.headlines import figures as shared
from lmcore.studies.headlines.tables import ladder, ladder_groups
from lmcore.studies.rope_and_vocab import STUDY, experiments, figures, tables

planned = experiments.sweeps()
if SCALE == "smoke":
    planned = [STUDY.smoke(experiment) for experiment in experiments.sweeps(most=1)]
shown = experiments.POSITION_NAMES
compare.settings([experiment for experiment in planned if experiment.name in shown])

# %% [markdown]
# Positions that are read across titles, and the same within them:

# %%
source(experiments, "positions")

# %% [markdown]
# ## Runs
#
# Finished runs are loaded, others are trained after their cost is printed. A run that diverges is a
# result too, and the sweep continues.

# %%
runs = STUDY.run(planned)
positions = [run for run in runs if run.config.name in shown]
vocabularies = [run for run in runs if run.config.name in experiments.SIZE_NAMES]
recipe = [run for run in runs if run.config.name in experiments.RECIPE_NAMES]
large = load_finished([*STUDY.compared_with(), *experiments.large()])
if SCALE == "smoke":
    short = {"train.epochs": 1}  # two ends of a ladder are enough to draw one
    large = STUDY.run([with_fields(STUDY.smoke(e), short) for e in experiments.ladder_ends()])
steps = [run for group in ladder_groups(large).values() for run in group]

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
# The figure of places draws the mean of the seeds with a band, and below it the difference from
# learned positions. These are the lines:

# %%
source(figures, "plot_places", first="places, nats =", last="bottom.plot")

# %%
#| label: fig-rope-and-vocab-rope
#| caption: Pairs of features turned by RoPE, and a score that depends on distance alone.
turned = compare.select(positions, "rope-1e4")
model = turned[0].config.model
fig = diagrams.plot_rope(model.rope_base, model.d_model // model.n_heads)
plotting.save(fig, "fig-rope-and-vocab-rope", turned)

# %%
#| label: tbl-rope-and-vocab-steps
#| caption: What each step gained.
tables.findings(runs)

# %%
#| label: fig-rope-and-vocab-positions
#| caption: Final loss by kind of positions.
fig = figures.plot_positions(positions)
plotting.save(fig, "fig-rope-and-vocab-positions", positions)

# %%
#| label: tbl-rope-and-vocab-positions
#| caption: The same in numbers.
tables.positions_table(positions)

# %%
#| label: tbl-rope-and-vocab-attention
#| caption: The share of attention to older titles and to the token itself.
tables.attention_table(positions)

# %%
#| label: fig-rope-and-vocab-places
#| caption: Loss by place in a title.
fig = figures.plot_places(positions)
plotting.save(fig, "fig-rope-and-vocab-places", positions)

# %%
#| label: tbl-rope-and-vocab-warmup
#| caption: Attention within titles after a longer warmup.
tables.warmup_table(runs)

# %%
#| label: fig-rope-and-vocab-beyond
#| caption: Loss beyond the trained length.
fig = figures.plot_beyond(positions)
plotting.save(fig, "fig-rope-and-vocab-beyond", positions)

# %%
#| label: fig-rope-and-vocab-attention
#| caption: Attention of the first layer's heads in one title.
fig = figures.plot_title(positions)
plotting.save(fig, "fig-rope-and-vocab-attention", positions)

# %%
#| label: fig-rope-and-vocab-vocabulary
#| caption: Loss in two units against the size of the vocabulary.
fig = figures.plot_vocabulary(vocabularies)
plotting.save(fig, "fig-rope-and-vocab-vocabulary", vocabularies)

# %%
#| label: tbl-rope-and-vocab-vocabulary
#| caption: Loss and cost of each vocabulary.
tables.vocabulary_table(vocabularies)

# %%
#| label: fig-rope-and-vocab-recipe
#| caption: The published recipe with each of its parts put back.
fig = figures.plot_recipe(recipe)
plotting.save(fig, "fig-rope-and-vocab-recipe", recipe)

# %%
#| label: tbl-rope-and-vocab-recipe
#| caption: The same in numbers.
tables.recipe_table(recipe)

# %%
#| label: fig-rope-and-vocab-ladder
#| caption: The ladder from the baseline to the best model so far.
fig = shared.plot_ladder(steps)
plotting.save(fig, "fig-rope-and-vocab-ladder", steps)

# %%
#| label: fig-rope-and-vocab-ladder-curves
#| caption: Training and validation loss of the ladder's models.
fig = shared.plot_ladder_curves(steps)
plotting.save(fig, "fig-rope-and-vocab-ladder-curves", steps)

# %%
#| label: fig-rope-and-vocab-ladder-next-token
#| caption: The likeliest next tokens of the ladder's models that share a tokenizer.
fig = shared.plot_ladder_guesses(steps)
plotting.save(fig, "fig-rope-and-vocab-ladder-next-token", steps)

# %%
#| label: tbl-rope-and-vocab-ladder
#| caption: What each step gained at the baseline's size.
ladder(large)

# %%
#| label: fig-rope-and-vocab-next-token
#| caption: The likeliest next tokens at batch 0, time 10.
fig = figures.plot_guesses(positions, "next_token")
plotting.save(fig, "fig-rope-and-vocab-next-token", positions)

# %%
#| label: fig-rope-and-vocab-unknowable
#| caption: The likeliest next tokens where no model could know.
fig = figures.plot_guesses(positions, "unknowable")
plotting.save(fig, "fig-rope-and-vocab-unknowable", positions)

# %%
#| label: tbl-rope-and-vocab-tuning
#| caption: The learning rates that were tried.
tables.tuning_table(runs)

# %% [markdown]
# ## What would change our mind
#
# We say that RoPE gains because it encodes distance. Learned relative positions that gain nothing
# would refute this. We say that hiding older titles harms because of the first steps. Runs whose
# heads attend to other tokens from the start and still end as high would refute this. Everything
# here is one small model and one epoch, except the recipe at the baseline's size, which was run at
# one learning rate.

# %% [markdown]
# ## Exercises
#
# `try_change`, shown below, trains the small version of an experiment as it is and with one change,
# on generated titles, in seconds. Say what you expect, then run a line in a new cell.

# %% [markdown]
# **1. No positions.** A causal model can infer the order. Does it, in so few steps?
#
# ```python
# exercise.try_change(STUDY, experiments.START, {"model.positions": "none"})
# ```

# %% [markdown]
# **2. RoPE.** Does it gain on generated titles too?
#
# ```python
# exercise.try_change(STUDY, experiments.START, {"model.positions": "rope"})
# ```

# %% [markdown]
# **3. Within titles.** The generated titles are independent too. Does hiding the older ones help?
#
# ```python
# exercise.try_change(STUDY, experiments.START, {"train.within_documents": True})
# ```

# %%
source(exercise, "try_change")

# %%
notebook.stamp("03_rope_and_vocab", positions)
