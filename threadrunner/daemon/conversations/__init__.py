"""Sessions, notes and recall: one SQLite file, one thread, one turn at a time."""
