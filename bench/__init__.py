"""Measurements on one machine, side by side with other tools; `make bench` writes BENCHMARKS.md."""
