"""The command line: one file for each command, words and printing only."""
