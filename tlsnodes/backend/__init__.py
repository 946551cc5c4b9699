"""A reference back end: a TLS server that makes the session ids that its record says [P6]."""
