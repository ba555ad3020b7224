"""What generates. `base` is the protocol; an entry point in the group `threadrunner.backends` adds one."""
