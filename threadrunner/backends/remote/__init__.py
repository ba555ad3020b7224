"""A backend whose models are on other machines: asked over HTTP in the dialects that servers speak (docs/remotes.md).

Nothing is decided here about what may be asked: the daemon has done that (daemon/methods/consent.py).
"""
