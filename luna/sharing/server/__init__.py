"""A front before llama.cpp's own servers, one for each generation that is asked for."""
