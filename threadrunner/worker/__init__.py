"""One process per loaded model. `messages` is the only module it shares with the daemon."""
