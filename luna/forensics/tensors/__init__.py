"""Reads and compares weights in any GGUF or safetensors file, tensor by tensor."""
