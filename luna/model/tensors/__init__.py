"""Reads what a file of weights holds, GGUF or safetensors, from its header alone."""
