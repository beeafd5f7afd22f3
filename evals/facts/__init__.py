"""Whether a free answer says what a taught reply says: by its facts, in any wording, by text alone."""
