"""What a TLS stream begins with: see binding.pxd."""

from tlsnodes.tls.openssl cimport SSL


cdef class TlsSettings:
    """Settings that TLS connections of one side begin with."""

    cdef SSL *begin(self) except NULL:
        raise TypeError("these are the settings of no side")
