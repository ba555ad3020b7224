"""Speculation: tokens that will probably be said, evaluated in one batch with the token that was."""
