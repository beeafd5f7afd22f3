"""The pipeline's stages: read parameters and files, write files. None of them writes to git."""
