"""Scores of a model, and a look at its attention."""
