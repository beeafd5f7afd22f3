"""The examination of a clone: what would break a promise one day, and how to set it right."""
