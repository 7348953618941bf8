"""Token files, batches, and generated text of known entropy."""
