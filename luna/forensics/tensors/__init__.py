"""Weights in files of any origin, GGUF or safetensors: read where they lie, compared tensor by tensor."""
