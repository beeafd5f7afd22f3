"""What changed and where: it reads history and never changes it."""
