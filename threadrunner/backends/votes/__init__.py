"""Several answers to one prompt: what each of them says, and which one has won."""
