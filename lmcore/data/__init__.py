"""Token files, batches of tokens or of the user's own data, and text of known entropy."""
