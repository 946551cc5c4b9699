"""TLS on OpenSSL through a compiled cffi binding."""
