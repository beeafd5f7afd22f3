"""The server: a front of Luna's before llama.cpp's own servers, one for each generation that is asked for."""
