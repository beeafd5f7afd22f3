"""Bytes by their hash: the cache, cold storage, and folders as DVC keeps them."""
