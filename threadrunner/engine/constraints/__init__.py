"""What an answer must be, and which tokens may come next for it: llguidance, which knows nothing of llama.cpp."""
