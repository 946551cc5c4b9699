"""What a TLS stream begins with: OpenSSL's side of tlsnodes.tls.context."""

from tlsnodes.tls.openssl cimport SSL


cdef class TlsSettings:
    """Settings that TLS connections of one side begin with."""

    # A connection in its initial state, which the caller owns: no BIO yet.
    cdef SSL *begin(self) except NULL
