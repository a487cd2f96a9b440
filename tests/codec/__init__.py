"""What is stored and sent as bytes, made and read again without a server."""
