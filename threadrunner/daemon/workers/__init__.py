"""Loaded models: which run, which give way, and the processes that hold them."""
