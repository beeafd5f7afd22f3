"""A generation as one file that anybody can check with nothing but Python."""
