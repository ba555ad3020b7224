"""One suggestion: what is asked, what is cached, what is shown. No module in here knows LSP or pygls."""
