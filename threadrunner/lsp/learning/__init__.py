"""What the language server learns of its user: which suggestions are taken, and what is written here."""
