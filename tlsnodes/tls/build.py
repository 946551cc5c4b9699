"""Compiles the OpenSSL binding, the cffi API-mode module `tlsnodes.tls._openssl` (shell).

`python -m tlsnodes.tls.build` builds it in place; the Hatch build hook calls `build`. It needs a C compiler and
OpenSSL's headers (Debian: gcc, libssl-dev).
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cffi import FFI

MODULE = "tlsnodes.tls._openssl"
_HERE = Path(__file__).parent

_DECLARATIONS = """
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;
typedef struct ssl_method_st SSL_METHOD;
typedef struct bio_st BIO;
typedef struct x509_st X509;
typedef struct evp_pkey_st EVP_PKEY;

typedef struct {
    char *plain;
    size_t plain_len;
    char *cipher;
    size_t cipher_len;
    const char *reason;
    ...;
} pf_frame;

#define PF_HANDSHAKING ...
#define PF_OPEN ...
#define PF_PEER_CLOSED ...
#define PF_FAILED ...

int pf_initialise(void);
pf_frame *pf_frame_new(void);
void pf_frame_free(pf_frame *);
SSL *pf_accept(SSL_CTX *);
int pf_receive(SSL *, pf_frame *, const char *, size_t);
int pf_send(SSL *, pf_frame *, const char *, size_t);
void pf_close(SSL *, pf_frame *);
void pf_context_set_alpn(SSL_CTX *);
const char *pf_take_reason(void);

#define TLS1_2_VERSION ...
#define SSL_OP_NO_COMPRESSION ...
#define SSL_OP_NO_RENEGOTIATION ...
#define SSL_MODE_RELEASE_BUFFERS ...

const SSL_METHOD *TLS_server_method(void);
SSL_CTX *SSL_CTX_new(const SSL_METHOD *);
void SSL_CTX_free(SSL_CTX *);
int SSL_CTX_set_min_proto_version(SSL_CTX *, int);
uint64_t SSL_CTX_set_options(SSL_CTX *, uint64_t);
long SSL_CTX_set_mode(SSL_CTX *, long);
int SSL_CTX_set_cipher_list(SSL_CTX *, const char *);
int SSL_CTX_set_ciphersuites(SSL_CTX *, const char *);
int SSL_CTX_set1_groups_list(SSL_CTX *, const char *);
int SSL_CTX_set_session_id_context(SSL_CTX *, const unsigned char *, unsigned int);
int SSL_CTX_set_max_early_data(SSL_CTX *, uint32_t);
int SSL_CTX_use_certificate(SSL_CTX *, X509 *);
int SSL_CTX_add1_chain_cert(SSL_CTX *, X509 *);
int SSL_CTX_use_PrivateKey(SSL_CTX *, EVP_PKEY *);
int SSL_CTX_check_private_key(const SSL_CTX *);

BIO *BIO_new_mem_buf(const void *, int);
int BIO_free(BIO *);
X509 *PEM_read_bio_X509(BIO *, X509 **, void *, void *);
void X509_free(X509 *);
EVP_PKEY *PEM_read_bio_PrivateKey(BIO *, EVP_PKEY **, void *, void *);
void EVP_PKEY_free(EVP_PKEY *);

void SSL_free(SSL *);
int SSL_session_reused(const SSL *);
const char *SSL_get_version(const SSL *);
const char *SSL_get_cipher_name(const SSL *);
const char *SSL_get_servername(const SSL *, int);
#define TLSEXT_NAMETYPE_host_name ...
"""


def build(root: Path) -> Path:
    """Compile the module into `root`/tlsnodes/tls and return its path.

    Raises:
        Exception: cffi's or the compiler's, when the C compiler or OpenSSL's headers are missing.
    """
    ffi = FFI()
    ffi.cdef(_DECLARATIONS)
    ffi.set_source(
        MODULE,
        (_HERE / "shim.c").read_text(),
        libraries=["ssl", "crypto"],
        extra_compile_args=["-O2", "-Wall", "-Wextra"],
    )
    target = root.joinpath(*MODULE.split(".")[:-1])
    with tempfile.TemporaryDirectory() as work:
        made = Path(ffi.compile(tmpdir=work))
        # A rename, not a copy over: a running process may have the old one mapped.
        staged = shutil.copy2(made, target / f".{made.name}")
        return Path(staged).replace(target / made.name)


if __name__ == "__main__":
    print(build(_HERE.parents[1]))
