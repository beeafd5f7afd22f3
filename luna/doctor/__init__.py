"""The examination of a clone: is everything here that the promises stand on, and is nothing set that would break them."""
