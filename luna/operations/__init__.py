"""What the commands do: one file for each operation, named as its command."""
