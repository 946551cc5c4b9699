"""The TLS policy: what connections of one vserver, or to the servers of one pool, have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from cryptography import x509
from cryptography.x509 import ocsp

from tlsnodes.persistence.affinity import AffinityCodec
from tlsnodes.store.tls_sessions import SharedSessions
from tlsnodes.tls.binding import ClientSettings, PeerSettings, ServerSettings, TlsSettings
from tlsnodes.tls.errors import CertificateError, OcspResponseError, TlsFileError
from tlsnodes.tls.names import NameTable
from tlsnodes.tls.sessions import SessionSettings

_TLS_1_2 = 0x0303
_TLS_1_3 = 0x0304
# Mozilla's lists, https://wiki.mozilla.org/Security/Server_Side_TLS, "intermediate" without finite-field DHE: every
# client that knows those suites knows ECDHE too, and they are a cheap way to burn a server's time. This order holds,
# but who has ChaCha20 first gets it: such a client has no hardware for AES.
_CIPHERS_1_2 = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
_CIPHERS_1_3 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_GROUPS = ("X25519", "prime256v1", "secp384r1")


class Policy(Enum):
    """Mozilla's names: TLS 1.2 and 1.3 for every client of the last ten years, or 1.3 only."""

    INTERMEDIATE = "intermediate"
    MODERN = "modern"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedCertificate:
    """A certificate with what belongs to it.

    Attributes:
        certificate_pem: the certificate, followed by its chain, PEM.
        key_pem: its private key, PEM, not encrypted.
        ocsp_response: what is stapled to it, DER.
    """

    certificate_pem: bytes
    key_pem: bytes
    ocsp_response: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAuthorities:
    """Who signs the certificates of the other side.

    Attributes:
        certificates_pem: the authorities' own certificates, PEM.
        crls_pem: their revocation lists, PEM, one for each authority that signs certificates of peers; None: revocation
            is not looked at.
        required: whether a client that shows no certificate is refused. One that shows a wrong one always is.
    """

    certificates_pem: bytes
    crls_pem: bytes | None = None
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRules:
    """What is said in a vserver's tickets.

    Attributes:
        codec: how.
        counts: where it is counted, by `TicketOutcome`.
        lifetime_s: of a ticket.
        renew: whether the end of a binding moves on when it is used.
        binds: whether they bind clients to servers: then TLS 1.3 gives none before a request was answered.
    """

    codec: AffinityCodec
    counts: list[int]
    lifetime_s: int = 7200
    renew: bool = True
    binds: bool = False


class TlsContext(SessionSettings):
    """The server's side of a vserver: give it to Stream.attach().

    The certificate is chosen by the name that the client asks for (SNI) among the names in the certificates, exact ones
    before wildcards; a client that asks for none, or for an unknown one, gets the first certificate. Certificates of
    the same name with different kinds of key, RSA and ECDSA, are both offered.

    Args:
        certificates: one or more.
        session_context: what sessions are bound to (normally the vserver): one made under another name, or when other
            authorities signed the clients' certificates, is not resumed.
        policy: versions, cipher suites and groups.
        clients: who signs the clients' certificates; None: they are not asked for.
        ticket_keys: see set_ticket_keys().
        issues_tickets: likewise.
        tickets: what is said in tickets; None: nothing, and any that its key opens is accepted in its session_context.
        sessions: what sessions of TLS 1.2 are shared by; None: clients without tickets resume nothing.

    Raises:
        CertificateError: no certificate in the PEM text, or one that OpenSSL's security level refuses.
        PrivateKeyError: no unencrypted key in the PEM text, or the key of another certificate.
        AuthorityError: no authority in the PEM text, or an unreadable one.
        RevocationListError: the same of revocation lists.
        OcspResponseError: not a successful OCSP response for this certificate.
        ValueError: a ticket key has not 80 bytes.
    """

    def __init__(
        self,
        *,
        certificates: Sequence[KeyedCertificate],
        session_context: str,
        policy: Policy = Policy.INTERMEDIATE,
        clients: PeerAuthorities | None = None,
        ticket_keys: Sequence[bytes] = (),
        issues_tickets: bool = True,
        tickets: TicketRules | None = None,
        sessions: SharedSessions | None = None,
    ) -> None:
        if not certificates:
            raise CertificateError("a vserver has one certificate at least")
        for index, certificate in enumerate(certificates):  # each by itself first, so that errors are about one
            try:
                _add(ServerSettings(), certificate)
            except TlsFileError as error:
                error.index = index
                raise
        groups = _CertificateGroups(certificates)
        identity = _session_identity(session_context, clients)
        self.set_ticket_keys(tuple(ticket_keys), issues=issues_tickets)
        if tickets is not None:
            self.set_tickets(
                tickets.codec,
                tickets.counts,
                lifetime_s=tickets.lifetime_s,
                renew=tickets.renew,
                late=tickets.binds,
            )
        settings: dict[tuple[int, ...], ServerSettings] = {}
        for members in (groups.default, *(group for _, group in groups.by_name)):
            if members not in settings:
                made = settings[members] = ServerSettings() if settings else self
                set_policy(made, policy)
                made.set_session_context(identity)
                for member in members:
                    _add(made, certificates[member])
                if clients is not None:
                    made.set_authorities(
                        clients.certificates_pem, clients.crls_pem, required=clients.required, names_sent=True
                    )
        if sessions is not None:
            self.share_sessions(sessions, [made for made in settings.values() if made is not self])
        if len(settings) > 1:
            self.set_chooser(NameTable((name, settings[members]) for name, members in groups.by_name).maybe_find)


class TlsClientContext(ClientSettings):
    """The client's side towards the servers of one pool; `TlsServerName(context, name)` goes to Stream.connect().

    Args:
        authorities: who signs the servers' certificates.
        certificate: what is shown to servers that ask for one.
        policy: versions, cipher suites and groups.

    Raises:
        as TlsContext.
    """

    def __init__(
        self,
        *,
        authorities: PeerAuthorities,
        certificate: KeyedCertificate | None = None,
        policy: Policy = Policy.INTERMEDIATE,
    ) -> None:
        set_policy(self, policy)
        self.set_authorities(authorities.certificates_pem, authorities.crls_pem, required=True, names_sent=False)
        if certificate is not None:
            self.add_certificate(certificate.certificate_pem, certificate.key_pem)


class TlsServerName(PeerSettings):
    """Connections to one server: the name or address that its certificate must be for, and the session to resume.

    `TlsServerName(context, name)` is kept as long as there are connections to the server, so that they resume.
    """


class _CertificateGroups:
    """Which certificates stand together: for each name, one of each kind of key.

    Attributes:
        default: the certificates, by index, for a client that asks for no name or an unknown one.
        by_name: the same for each name in any certificate.
    """

    def __init__(self, certificates: Sequence[KeyedCertificate]) -> None:
        names: list[str] = []
        by_kind: dict[type, list[tuple[str, int]]] = {}
        for index, certificate in enumerate(certificates):
            parsed = _parse(certificate.certificate_pem)
            entries = [(name, index) for name in _host_names(parsed)]
            by_kind.setdefault(type(parsed.public_key()), []).extend(entries)
            names.extend(name for name, _ in entries)
            if index == 0:
                of_first = entries
        tables = [NameTable(entries) for entries in by_kind.values()]

        def members(name: str) -> tuple[int, ...]:
            return tuple(sorted(found for table in tables if (found := table.maybe_find(name)) is not None))

        self.by_name = [(name, members(name)) for name in names]
        self.default = self.by_name[0][1] if of_first else (0,)


def _parse(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CertificateError(f"certificate 1 cannot be read: {error}") from None


def _host_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def set_policy(settings: TlsSettings, policy: Policy) -> None:
    """Versions, cipher suites and groups of either side."""
    settings.set_policy(
        minimum_version=_TLS_1_2 if policy is Policy.INTERMEDIATE else _TLS_1_3,
        ciphers_1_2=":".join(_CIPHERS_1_2).encode(),
        ciphers_1_3=":".join(_CIPHERS_1_3).encode(),
        groups=":".join(_GROUPS).encode(),
    )


def _session_identity(session_context: str, clients: PeerAuthorities | None) -> bytes:
    parts = [session_context.encode()]
    if clients is not None:
        parts += [clients.certificates_pem, clients.crls_pem or b"", bytes([clients.required])]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _add(settings: ServerSettings, certificate: KeyedCertificate) -> None:
    settings.add_certificate(certificate.certificate_pem, certificate.key_pem)
    if certificate.ocsp_response is not None:
        _check_ocsp_response(certificate.ocsp_response, _parse(certificate.certificate_pem))
        settings.staple(certificate.ocsp_response)


def _check_ocsp_response(der: bytes, certificate: x509.Certificate) -> None:
    try:
        response = ocsp.load_der_ocsp_response(der)
    except ValueError as error:
        raise OcspResponseError(f"no OCSP response in DER: {error}") from None
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise OcspResponseError(f"the OCSP responder said {response.response_status.name.lower()}")
    if response.serial_number != certificate.serial_number:
        raise OcspResponseError("the OCSP response is about another certificate")
