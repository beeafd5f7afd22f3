"""From 16-bit weights to the GGUF that ships, and the check that both answer alike."""
