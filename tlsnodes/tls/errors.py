"""What can be wrong with the files that TLS is configured with."""


class TlsFileError(ValueError):
    """A file is not usable; the text says what is wrong with it, in one sentence without the file's name.

    Attributes:
        index: of several certificates the one that it belongs to.
    """

    index = 0


class CertificateError(TlsFileError):
    """The certificate chain is not usable."""


class PrivateKeyError(TlsFileError):
    """The private key is not usable or belongs to another certificate."""


class AuthorityError(TlsFileError):
    """The certificate authorities are not usable."""


class RevocationListError(TlsFileError):
    """The certificate authorities' revocation lists are not usable."""


class OcspResponseError(TlsFileError):
    """The OCSP response is none, or not one for this certificate."""
