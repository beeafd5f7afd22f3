"""Importing: other programs' conversations, read by content and mended by stated rules."""
