"""What the TLS connections of one vserver share: certificate, key and policy."""

from __future__ import annotations

import hashlib
from typing import Any

import tlsnodes.tls._openssl as _openssl
from tlsnodes.tls.errors import CertificateError, PrivateKeyError

__all__ = ["CertificateError", "PrivateKeyError", "TlsContext"]

_ffi = _openssl.ffi
_lib = _openssl.lib

if not _lib.pf_initialise():
    raise MemoryError

# Mozilla's "intermediate" policy, https://wiki.mozilla.org/Security/Server_Side_TLS, without its finite-field DHE
# suites: every client that knows them knows ECDHE too, and they are a cheap way to burn a server's time.
_CIPHERS_TLS12 = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
_CIPHERS_TLS13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_GROUPS = "X25519:prime256v1:secp384r1"


class TlsContext:
    """Server-side TLS settings, and the buffers that its connections take turns in.

    Not for use from several threads at once.

    Args:
        certificate_pem: the server's certificate, followed by its chain, PEM.
        key_pem: the private key of the first certificate, PEM, not encrypted.
        session_context: what sessions are bound to (normally the vserver): one made under another name is not resumed.

    Raises:
        CertificateError: no certificate in the PEM text, or one that OpenSSL's security level refuses.
        PrivateKeyError: no unencrypted key in the PEM text, or the key of another certificate.
    """

    __slots__ = ("frame", "handle")

    def __init__(self, *, certificate_pem: bytes, key_pem: bytes, session_context: str) -> None:
        self.handle: Any = _ffi.gc(_not_null(_lib.SSL_CTX_new(_lib.TLS_server_method())), _lib.SSL_CTX_free)
        self.frame: Any = _ffi.gc(_not_null(_lib.pf_frame_new()), _lib.pf_frame_free)
        _lib.pf_take_reason()
        self._set_policy(session_context)
        self._use_chain(certificate_pem)
        self._use_key(key_pem)

    def _set_policy(self, session_context: str) -> None:
        ctx = self.handle
        _lib.SSL_CTX_set_options(ctx, _lib.SSL_OP_NO_COMPRESSION | _lib.SSL_OP_NO_RENEGOTIATION)
        _lib.SSL_CTX_set_mode(ctx, _lib.SSL_MODE_RELEASE_BUFFERS)
        _lib.pf_context_set_alpn(ctx)
        identity = hashlib.sha256(session_context.encode()).digest()
        accepted = (
            _lib.SSL_CTX_set_min_proto_version(ctx, _lib.TLS1_2_VERSION),
            _lib.SSL_CTX_set_cipher_list(ctx, _CIPHERS_TLS12.encode()),
            _lib.SSL_CTX_set_ciphersuites(ctx, _CIPHERS_TLS13.encode()),
            _lib.SSL_CTX_set1_groups_list(ctx, _GROUPS.encode()),
            _lib.SSL_CTX_set_session_id_context(ctx, identity, len(identity)),
            # A replayed early request would be served twice (RFC 8446, 8).
            _lib.SSL_CTX_set_max_early_data(ctx, 0),
        )
        if not all(accepted):
            raise RuntimeError(f"OpenSSL refuses the TLS policy: {_take_reason()}")

    def _use_chain(self, pem: bytes) -> None:
        bio = _ffi.gc(_not_null(_lib.BIO_new_mem_buf(pem, len(pem))), _lib.BIO_free)
        count = 0
        while certificate := _lib.PEM_read_bio_X509(bio, _ffi.NULL, _ffi.NULL, _ffi.NULL):
            certificate = _ffi.gc(certificate, _lib.X509_free)
            use = _lib.SSL_CTX_add1_chain_cert if count else _lib.SSL_CTX_use_certificate
            if use(self.handle, certificate) != 1:
                raise CertificateError(f"certificate {count + 1} is refused: {_take_reason()}")
            count += 1
        reason = _take_reason()
        if count == 0:
            raise CertificateError("no PEM certificate in it")
        if reason != "no start line":
            raise CertificateError(f"certificate {count + 1} cannot be read: {reason}")

    def _use_key(self, pem: bytes) -> None:
        bio = _ffi.gc(_not_null(_lib.BIO_new_mem_buf(pem, len(pem))), _lib.BIO_free)
        # The empty password keeps OpenSSL from asking for one on the terminal.
        key = _lib.PEM_read_bio_PrivateKey(bio, _ffi.NULL, _ffi.NULL, _ffi.from_buffer(b"\0"))
        if not key:
            _take_reason()
            raise PrivateKeyError("no unencrypted PEM private key in it")
        key = _ffi.gc(key, _lib.EVP_PKEY_free)
        # The first does not mind a key of another kind than the certificate's.
        if not (_lib.SSL_CTX_use_PrivateKey(self.handle, key) and _lib.SSL_CTX_check_private_key(self.handle)):
            raise PrivateKeyError(f"not the key of the certificate: {_take_reason()}")


def _not_null(pointer: Any) -> Any:
    if not pointer:
        raise MemoryError
    return pointer


def _take_reason() -> str:
    reason = _lib.pf_take_reason()
    return _ffi.string(reason).decode() if reason else "no reason given"
