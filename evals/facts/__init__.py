"""Is a free answer right about the facts of the replies that were taught? In any wording and language, by text alone."""
