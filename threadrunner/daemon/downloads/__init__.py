"""Bringing models here: from the package index, the Hugging Face hub, or a file of the user's."""
