"""The language server: an adapter between editors (LSP on stdio) and the daemon.

`server` registers the features (`completions`, `code_actions`, `commands`, `chat`); they work on one `session`, which
sees the editor through `client.EditorClient` and the daemon through `suggest.ask.DaemonClient`.

Pure, without I/O and without a clock of their own: `actions`, `client`, `items`, `outage`, and in `suggest/`
`cache`, `closers`, `context`, `cursor`, `documents`, `ends`, `filters`, `infill`, `settings`, `text`, `typist`,
`window`.
`suggest/suggester`, `suggest/flight` and `suggest/speculation` decide what happens when.
"""
