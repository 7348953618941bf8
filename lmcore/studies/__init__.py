"""One module for each notebook: its question, its named experiments, what it probes in a model."""
