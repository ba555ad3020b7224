"""What lsp_languages.py is made of: files of many languages, places in them, and judgements of what was shown."""
