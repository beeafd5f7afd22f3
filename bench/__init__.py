"""Measurements, side by side on one machine: 'make bench' writes BENCHMARKS.md."""
