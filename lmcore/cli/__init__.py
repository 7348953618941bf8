"""The command line: the functions that the notebooks call, a file for each command."""
