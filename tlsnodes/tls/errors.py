"""What can be wrong with the files that TLS is configured with."""


class TlsFileError(ValueError):
    """A file is not usable; the text says what is wrong with it, in one sentence without the file's name."""


class CertificateError(TlsFileError):
    """The certificate chain is not usable."""


class PrivateKeyError(TlsFileError):
    """The private key is not usable or belongs to another certificate."""


class AuthorityError(TlsFileError):
    """The certificate authorities, or their revocation lists, are not usable."""


class OcspResponseError(TlsFileError):
    """The OCSP response is none, or not one for this certificate."""
