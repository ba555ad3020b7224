"""The language server: an adapter between editors (LSP on stdio) and the daemon.

Pure decisions stand in modules of their own, without I/O and without a clock of their own: documents, window,
filters, cache, typist, ignore, context. What happens when is in completion and server.
"""
