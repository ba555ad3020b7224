"""May native code see this file? The header is read and checked before a worker is started for it."""
