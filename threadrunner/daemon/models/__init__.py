"""Names to files, and what is known of the files."""
