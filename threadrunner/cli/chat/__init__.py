"""`threadrunner chat`: a conversation at a terminal."""
