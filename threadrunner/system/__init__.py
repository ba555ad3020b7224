"""What differs from one system to the next: every other module asks here (tests/test_layers.py). Imports none of ours.

Checked by mypy for Linux, macOS and Windows; docs/install.md has a table of what was never run on a real one.
"""
