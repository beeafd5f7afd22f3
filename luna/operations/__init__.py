"""What the commands do, one file an operation, named as its command."""
