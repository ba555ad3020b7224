"""Names of conversations with a meaning of their own. Standard library only: the shell imports this."""

from __future__ import annotations

LAST = "@last"
"""The conversation that was used last."""

NEW = "@new"
"""One that does not exist yet: the daemon names it after its first prompt."""
