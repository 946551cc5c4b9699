"""Session-id ranges: which server makes which TLS session ids, and how that changes [P6]."""
