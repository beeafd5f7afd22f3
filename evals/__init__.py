"""What a generation is judged by: one small module for each question."""
