"""Conversations: reading them in any usual form, telling them apart by content, choosing what to learn."""
