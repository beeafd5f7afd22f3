"""A generation as one file that anybody can check: made from git and the cache, checked with nothing but Python."""
