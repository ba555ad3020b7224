"""Which models this machine can run, and how fast: asked before anything is downloaded."""
