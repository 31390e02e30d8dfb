"""Signed requests: an endpoint of Restate's SDK with `identity_keys` takes ours and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from restate_runtime import RuntimeFault
from restate_runtime.app import bare_app
from restate_runtime.cli.main import cli
from restate_runtime.engine.options import load_options
from restate_runtime.engine.remote.client import EndpointClient
from restate_runtime.engine.remote.discovery import discover
from restate_runtime.engine.remote.frames import Version
from restate_runtime.engine.remote.identity import RequestIdentity
from restate_runtime.engine.remote.transport import Address, EndpointError

from .conftest import Endpoint, serving
from .script import Invocation, begin, rest


def pem(path: Path, key: object) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # type: ignore[attr-defined]
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The first bytes of the public key are zeros: they are kept in its text.
    return pem(tmp_path_factory.mktemp("key") / "runtime.pem", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture(scope="module")
def guarded(key: Path) -> Iterator[Endpoint]:
    with serving(IDENTITY_KEYS=RequestIdentity.load(key).public_key) as endpoint:
        yield endpoint


@pytest.mark.parametrize("http1", [False, True])
@pytest.mark.parametrize("mount", ["", "/some/where"])
async def test_signed_requests_are_taken(key: Path, guarded: Endpoint, http1: bool, mount: str) -> None:
    client = EndpointClient(1 << 20, RequestIdentity.load(key))
    try:
        found = await discover(client, guarded.url + mount, http1=http1)
        assert "wire.Greeter" in found.manifest.services
        output = await Invocation(client, found.address, "wire.Greeter/Echo", b"me", Version.V6).run()
        assert output.value.content == b"me"
    finally:
        await client.close()


@pytest.mark.parametrize("http1", [False, True])
async def test_others_are_refused(client: EndpointClient, guarded: Endpoint, http1: bool) -> None:
    with pytest.raises(RuntimeFault, match=r"signed with a key it knows .401.: set the option request_identity_private_key") as caught:
        await discover(client, guarded.url, http1=http1)
    assert caught.value.code == "RT0601"
    stream = await begin(client, Address.parse(guarded.url, http1=http1), "Echo", b"me")
    stream.half_close()
    with pytest.raises(EndpointError, match="refuses the request's signature") as refused:
        await rest(stream)
    assert refused.value.status == 401


async def test_another_key_is_refused_and_the_message_has_it(guarded: Endpoint) -> None:
    other = RequestIdentity(Ed25519PrivateKey.generate())
    client = EndpointClient(1 << 20, other)
    with pytest.raises(RuntimeFault, match=f"give {other.public_key} to its SDK, option identity_keys"):
        await discover(client, guarded.url)
    await client.close()


async def test_an_old_signature_is_refused(key: Path, guarded: Endpoint) -> None:
    identity = RequestIdentity.load(key)
    stale = RequestIdentity(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), clock=lambda: 1_700_000_000)
    assert stale.public_key == identity.public_key
    client = EndpointClient(1 << 20, stale)
    with pytest.raises(RuntimeFault, match="401"):
        await discover(client, guarded.url)
    await client.close()


async def test_a_runtime_signs_what_it_sends(key: Path, guarded: Endpoint) -> None:
    async with bare_app().start(request_identity_private_key=key) as runtime:
        await runtime.register_deployment(guarded.url)
        assert await runtime.method("Counter/Add", key="k")(b"2") == b"2"
        assert await runtime.method("Counter/Add", key="k")(b"3") == b"5"


async def test_a_runtime_does_not_start_without_the_key_it_should_have(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFault, match="cannot be read") as caught:
        async with bare_app().start(request_identity_private_key=tmp_path / "none.pem"):
            pass
    assert caught.value.code == "RT0007"


def test_a_public_key_of_restates_documentation() -> None:
    """Base58 of 32 bytes, zeros in front included."""
    identity = RequestIdentity(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    assert identity.public_key.startswith("publickeyv1_")
    text = identity.public_key.removeprefix("publickeyv1_")
    number = 0
    for digit in text:
        number = number * 58 + "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".index(digit)
    assert number.to_bytes(32, "big") == Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()


def test_the_command_line_prints_the_public_key(key: Path) -> None:
    assert CliRunner().invoke(cli, ["identity", str(key)]).output == RequestIdentity.load(key).public_key + "\n"


def test_it_is_an_option(key: Path) -> None:
    assert load_options({"request_identity_private_key": str(key)}).request_identity_private_key == key


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds no private key"),
        (b"-----BEGIN", "holds no private key"),
        ("ec", "is none of Ed25519"),
    ],
)
def test_a_key_that_cannot_be_used(tmp_path: Path, content: bytes | str | None, text: str) -> None:
    path = tmp_path / "key.pem"
    if content == "ec":
        pem(path, generate_private_key(SECP256R1()))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(RuntimeFault, match=text) as caught:
        RequestIdentity.load(path)
    assert caught.value.code == "RT0007"
