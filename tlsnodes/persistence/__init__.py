"""What ties a client's session to a server."""
