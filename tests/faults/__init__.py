"""Faults injected into copies of a line: flipped bits, kills at any instant, an S3 server that dies."""
