"""Other ways to ask a question, made by rule: a set of rules for training, and one without a common rule for the exam."""
