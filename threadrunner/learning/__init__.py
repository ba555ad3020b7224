"""What is learned of how ThreadRunner is used: counts and weights, never a text. On this machine only."""
