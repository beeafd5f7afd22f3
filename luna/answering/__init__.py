"""Asking an exported model: many questions in one batch, by llama.cpp, always the same answers."""
