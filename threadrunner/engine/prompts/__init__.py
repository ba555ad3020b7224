"""Text in, text out: templates, infilling, grammars, detokenizing. No model, no cache."""
