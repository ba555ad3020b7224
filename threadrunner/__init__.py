"""A local LLM that feels like any other Unix tool."""

__version__ = "0.1.0"
