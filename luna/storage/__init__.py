"""Bytes by their hash: the cache, cold storage, folders kept as DVC keeps them."""
