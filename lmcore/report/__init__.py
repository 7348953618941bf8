"""Tables and figures over runs, and notebooks."""
