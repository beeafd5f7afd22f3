"""What a generation is judged by: one small module a question, each able to say no."""
