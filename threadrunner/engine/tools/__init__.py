"""What a model says, told apart: text, thought, calls of tools. Pure: text in, parts out."""
