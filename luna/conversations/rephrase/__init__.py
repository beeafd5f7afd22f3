"""Other ways to ask a question, made by rule: some to train on, others for the exam."""
