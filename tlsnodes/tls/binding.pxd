"""What a TLS stream begins with: OpenSSL's side of tlsnodes.tls.context."""

from tlsnodes.tls.openssl cimport SSL, SSL_CTX, SSL_SESSION


cdef class TlsSettings:
    """Settings that TLS connections of one side begin with. A stream keeps those that it began with."""

    cdef SSL_CTX *context

    # A connection in its initial state, which the caller owns and which must not outlive these settings: no BIO yet.
    cdef SSL *begin(self) except NULL


cdef class ServerSettings(TlsSettings):
    """The server's side: what TlsContext is made of."""

    cdef object choose  # name -> ServerSettings or None
    cdef dict ocsp_responses  # by the address of the certificate's X509


cdef class ClientSettings(TlsSettings):
    """The client's side: what outgoing connections have in common."""


cdef class PeerSettings(TlsSettings):
    """What outgoing connections to one server have in common: the name that is checked, the session to resume."""

    cdef ClientSettings settings
    cdef bytes name
    cdef bint is_address
    cdef SSL_SESSION *session
