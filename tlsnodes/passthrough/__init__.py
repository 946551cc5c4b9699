"""TLS that a node passes on without decrypting it: what the plaintext of its handshakes says."""
