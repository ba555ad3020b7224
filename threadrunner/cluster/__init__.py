"""Many machines: a file of models becomes a Serve configuration, and Ray runs it. Nothing here places, restarts or
counts anything itself. Ray is imported where it is used; nothing else imports this room."""
