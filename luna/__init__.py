"""Luna: generations of a fine-tuned chat model that never overwrite history."""

__version__ = "0.1.0"
