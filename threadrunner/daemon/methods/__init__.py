"""What a client may ask: params in, a result or an ApiError out."""
