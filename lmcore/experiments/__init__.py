"""Experiments: names for everything that decides a number, and run folders that keep the results."""
