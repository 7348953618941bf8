"""Named experiments, which hold everything that decides a number, and the folders of their runs."""
