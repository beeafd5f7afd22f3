"""An OpenAI-compatible server over the sealed generations."""
