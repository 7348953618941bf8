"""A decoder-only transformer, part by part, with its options."""
