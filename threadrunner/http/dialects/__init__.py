"""One file an endpoint, or a few that belong together: a body is read into an Order, and its events are written as that
dialect has them. None talks to the daemon's socket itself, so that hang-ups, silence, errors and limits are right once,
in `streams` and `exchange`."""
