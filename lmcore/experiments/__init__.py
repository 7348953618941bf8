"""Experiments: a name for everything that decides a number, and folders that keep results."""
