"""P4Runtime over TLS: who gets in, at the softswitch and through the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from finsy.proto import p4r, p4r_grpc

from pentaflow.config import Configuration
from pentaflow.credentials import Credentials, Identity
from softswitch import switch as softswitch
from support.certificates import Authority, Certificate
from support.configurations import small_document
from support.p4rt import WAIT_S, Target, running_softswitch
from support.ports import free_port
from support.virtual_array import VirtualArray, background, eventually, running_controller

CA = Authority("the CA")
OTHER_CA = Authority("another CA")
SWITCH = CA.issue("switch")


def identity(certificate: Certificate) -> Identity:
    return Identity(certificate=certificate.certificate_pem, key=certificate.key_pem)


SERVER_ONLY = Credentials(identity=identity(SWITCH), ca=None)
MUTUAL = Credentials(identity=identity(SWITCH), ca=CA.certificate_pem)


async def version_of(target: Target, credentials: grpc.ChannelCredentials | None) -> str:
    """Ask for the capabilities on a channel of its own; raises AioRpcError when the server is not reached."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(target.address, options=options)
    else:
        channel = grpc.aio.secure_channel(target.address, credentials, options=options)
    async with channel:
        stub: Any = p4r_grpc.P4RuntimeStub(channel)
        response = await stub.Capabilities(p4r.CapabilitiesRequest(), timeout=WAIT_S)
    return str(response.p4runtime_api_version)


def client(ca: Authority, certificate: Certificate | None = None) -> grpc.ChannelCredentials:
    if certificate is None:
        return grpc.ssl_channel_credentials(ca.certificate_pem)
    return grpc.ssl_channel_credentials(ca.certificate_pem, certificate.key_pem, certificate.certificate_pem)


@pytest.mark.parametrize(
    ("server", "credentials"),
    [
        (SERVER_ONLY, client(CA)),
        (SERVER_ONLY, client(CA, OTHER_CA.issue("nobody asked"))),
        (MUTUAL, client(CA, CA.issue("controller"))),
    ],
)
async def test_who_gets_in(server: Credentials, credentials: grpc.ChannelCredentials) -> None:
    async with running_softswitch({}, server) as target:
        assert await version_of(target, credentials) == "1.5.0"


@pytest.mark.parametrize(
    ("server", "credentials"),
    [
        pytest.param(SERVER_ONLY, None, id="without TLS"),
        pytest.param(SERVER_ONLY, client(OTHER_CA), id="a client that trusts another CA"),
        pytest.param(MUTUAL, None, id="mutual, without TLS"),
        pytest.param(MUTUAL, client(CA), id="mutual, without a client certificate"),
        pytest.param(MUTUAL, client(CA, OTHER_CA.issue("stranger")), id="mutual, a certificate of another CA"),
    ],
)
async def test_who_is_kept_out(server: Credentials, credentials: grpc.ChannelCredentials | None) -> None:
    async with running_softswitch({}, server) as target:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await version_of(target, credentials)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await version_of(target, client(CA, CA.issue("controller"))) == "1.5.0"


# The controller's side.


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """A configuration whose switch asks for a client certificate."""
    document = small_document()
    document["controller"] = {"rest": f"127.0.0.1:{free_port()}"}
    (tmp_path / "ca.pem").write_bytes(CA.certificate_pem)
    certificate, key = CA.issue("controller").write(tmp_path)
    document["switches"][0] |= {
        "grpc": f"127.0.0.1:{free_port()}",
        "ports": [1, 2, 3, 4],
        "tls": {"ca": str(tmp_path / "ca.pem"), "certificate": str(certificate), "key": str(key)},
    }
    return document


@pytest.fixture
def running_tls_switch(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    array = VirtualArray(Configuration.model_validate(document))
    monkeypatch.setattr(softswitch, "Ports", array.ports)
    options = softswitch.SwitchOptions(
        grpc_address=document["switches"][0]["grpc"], ports={n: f"virtual{n}" for n in range(1, 5)}, tls=MUTUAL
    )
    return background(lambda started: softswitch.run_switch(options, started=started))


def write_ca(tls: dict[str, str], authority: Authority) -> None:
    Path(tls["ca"]).write_bytes(authority.certificate_pem)


async def session_state(client: Any) -> dict[str, Any]:
    [state] = (await client.get("/switches")).json()
    return dict(state)


async def test_the_controller_fills_a_switch_over_mutual_tls(document: dict[str, Any], running_tls_switch: Any) -> None:
    async with running_tls_switch, running_controller(Configuration.model_validate(document)) as client:

        async def ready() -> bool:
            return str((await session_state(client))["state"]) == "ready"

        await eventually(ready, "the session is ready")


@pytest.mark.parametrize("wrong", ["ca", "certificate", "no certificate", "no tls"])
async def test_the_controller_stays_out_and_gets_in_once_its_files_are_right(
    document: dict[str, Any], running_tls_switch: Any, tmp_path: Path, wrong: str
) -> None:
    tls = document["switches"][0]["tls"]
    match wrong:
        case "ca":
            write_ca(tls, OTHER_CA)
        case "certificate":
            OTHER_CA.issue("stranger").write(tmp_path)
        case "no certificate":
            del tls["certificate"], tls["key"]
        case "no tls":
            del document["switches"][0]["tls"]
    async with running_tls_switch, running_controller(Configuration.model_validate(document)) as client:

        async def refused() -> bool:
            state = await session_state(client)
            assert state["state"] == "disconnected"
            return bool(state["error"])

        await eventually(refused, "the session's error is told")
        if wrong in ("ca", "certificate"):
            write_ca(tls, CA)
            CA.issue("controller").write(tmp_path)

            async def ready() -> bool:
                return str((await session_state(client))["state"]) == "ready"

            await eventually(ready, "the next connection uses the renewed files")
