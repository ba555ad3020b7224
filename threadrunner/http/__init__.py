"""`threadrunner serve`: HTTP dialects that other programs speak, each a thin translation to the daemon's methods."""
