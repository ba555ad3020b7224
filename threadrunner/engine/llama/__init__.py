"""llama.cpp, typed: the only package that calls its C functions."""
