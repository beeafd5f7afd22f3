"""Weights: the base, the adapters, and the exact merge of one into the other."""
