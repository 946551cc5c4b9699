"""TLS on OpenSSL: policies and certificates, and the binding that streams begin with (Cython)."""
