"""The judge of free answers, judged: labelled answers, and how often it agrees with a person."""
