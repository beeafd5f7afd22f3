"""Asking an exported model by llama.cpp: many questions in one batch, always the same answers."""
