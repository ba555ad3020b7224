"""What learning.py is made of: files of several repositories, people who type them, a model whose answers are kept."""
