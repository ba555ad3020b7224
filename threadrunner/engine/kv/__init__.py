"""Where evaluated tokens are: in the context's cells, in memory, on disk."""
