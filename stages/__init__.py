"""The pipeline's stages: they read parameters and files, write files, and never touch git."""
