"""One suggestion: what is asked, what is cached, what is shown."""
