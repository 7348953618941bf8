"""What the studies of headlines share."""
