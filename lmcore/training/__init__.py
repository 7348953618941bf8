"""Training: the loop, one step, optimizers, schedules, losses, checkpoints."""
