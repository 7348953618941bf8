"""The tokenizer's inner loops, compiled by Numba for large texts."""
