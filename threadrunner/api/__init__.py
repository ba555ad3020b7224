"""What ThreadRunner says over the wire, written once: errors, types, methods.

`errors` is standard library only (the shell imports it); the rest needs msgspec.
"""
