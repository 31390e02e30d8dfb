"""Finding out what an endpoint hosts, and saying clearly why that does not go."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from restate_runtime import RuntimeFault
from restate_runtime.engine.remote.client import EndpointClient
from restate_runtime.engine.remote.discovery import discover
from restate_runtime.engine.remote.frames import Version
from restate_runtime.engine.remote.manifest import HandlerType, ServiceType, parse_manifest
from restate_runtime.retry import OnExhausted

from .conftest import Endpoint, serving
from .script import Invocation

TYPE = "application/vnd.restate.endpointmanifest.v4+json"


# ---- Endpoints ----


@pytest.mark.parametrize("http1", [False, True])
async def test_what_an_endpoint_of_restates_sdk_says(client: EndpointClient, endpoint: Endpoint, http1: bool) -> None:
    found = await discover(client, endpoint.url + "/", http1=http1, headers={"X-Tenant": "t"})
    assert (found.address.url, found.address.http1, found.address.headers) == (endpoint.url, http1, (("X-Tenant", "t"),))
    assert found.bidirectional is not http1
    assert found.server.startswith("restate-sdk-python/")
    manifest = found.manifest
    assert manifest.versions == (5, 7)
    assert set(manifest.services) == {"wire.Greeter", "Counter", "Flow"}
    greeter, counter, flow = (manifest.services[name] for name in ("wire.Greeter", "Counter", "Flow"))
    assert (greeter.type, greeter.documentation, greeter.metadata) == (ServiceType.SERVICE, "Greets.", {"team": "a"})
    assert greeter.handlers["Echo"].type is None
    assert greeter.handlers["Echo"].settings.private is True
    assert greeter.handlers["Wait"].settings.abort_timeout == timedelta(seconds=3)
    assert {name: handler.type for name, handler in counter.handlers.items()} == {
        "Add": HandlerType.EXCLUSIVE,
        "Read": HandlerType.SHARED,
    }
    settings = counter.handlers["Read"].settings
    assert (settings.inactivity_timeout, settings.lazy_state) == (timedelta(seconds=7), True)
    assert flow.handlers["Run"].type is HandlerType.WORKFLOW
    assert flow.handlers["Run"].settings.workflow_retention == timedelta(hours=1)
    assert parse_manifest(manifest.text, "again") == manifest


@asynccontextmanager
async def answering(status: int = 200, body: bytes = b"{}", kind: str = TYPE) -> AsyncIterator[str]:
    """A server of HTTP/1.1 that answers every request so."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type=kind)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def described(**fields: Any) -> bytes:
    service = {"name": "A", "ty": "SERVICE", "handlers": [{"name": "B"}]}
    return json.dumps({"minProtocolVersion": 5, "maxProtocolVersion": 7, "services": [service], **fields}).encode()


@pytest.mark.parametrize(("mode", "bidirectional"), [({}, None), ({"protocolMode": "REQUEST_RESPONSE"}, False)])
async def test_an_endpoint_that_speaks_http1_only(client: EndpointClient, mode: dict[str, str], bidirectional: bool | None) -> None:
    async with answering(body=described(**mode)) as url:
        found = await discover(client, url)
        assert (found.address.http1, found.bidirectional, found.manifest.bidirectional) == (True, False, bidirectional)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "text"),
    [
        (404, b"", "text/plain", "RT0601", r"is no service endpoint: it has no /discover .404.. Is it the ingress"),
        (200, b"<html>", "text/html", "RT0601", "is no service endpoint: it answers /discover with content type 'text/html'"),
        (500, b"out of\norder", "text/plain", "RT0601", "answers /discover with status 500: out of order"),
        (302, b"", "text/plain", "RT0601", "answers /discover with status 302"),
        (401, b"", "text/plain", "RT0601", "wants requests that are signed"),
        (415, b"", "text/plain", "RT0602", "describes itself in none of the versions 4, 3, 2"),
        (200, described(), TYPE.replace("v4", "v9"), "RT0602", "describes itself in version 9, which nobody asked for"),
        (200, b"{", TYPE, "RT0603", "describes itself in a way that cannot be read"),
        (200, described(minProtocolVersion=1, maxProtocolVersion=4), TYPE, "RT0602", "speaks versions 1 to 4 .* this runtime 5 to 7"),
        (200, described(minProtocolVersion=8, maxProtocolVersion=9), TYPE, "RT0602", "speaks versions 8 to 9"),
        (200, described(services=[]), TYPE, "RT0603", "hosts no services"),
    ],
)
async def test_what_is_no_endpoint(client: EndpointClient, status: int, body: bytes, kind: str, code: str, text: str) -> None:
    async with answering(status, body, kind) as url:
        with pytest.raises(RuntimeFault, match=text) as caught:
            await discover(client, url)
        assert (caught.value.code, url in caught.value.message) == (code, True)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("127.0.0.1:9080", "is no endpoint: write a URL such as http://127.0.0.1:9080"),
        ("ftp://127.0.0.1", "is no endpoint"),
        ("http://", "is no endpoint"),
        ("http://user@127.0.0.1", "is no endpoint"),
        ("http://127.0.0.1:99999", "is no URL: Port out of range"),
        ("http://[::1", "is no URL: Invalid IPv6 URL"),
        ("http://a..b:1", "is no URL: 'a..b' is no name of a host"),
        ("http://a b/", "'a b' is no name of a host"),
        (f"http://{'a' * 64}", "is no name of a host"),
        ("http://127.0.0.1/\udcff", "is no URL: it is no UTF-8"),
        ("http://127.0.0.1:1", "cannot be reached: Connection refused"),
        ("http://nowhere.invalid", "cannot be reached: "),
    ],
)
async def test_urls_that_lead_nowhere(client: EndpointClient, url: str, text: str) -> None:
    with pytest.raises(RuntimeFault, match=text) as caught:
        await discover(client, url)
    assert caught.value.code == "RT0601"


# ---- TLS ----


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key, in one file."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def secure(certificate: Path) -> Iterator[Endpoint]:
    with serving("--certfile", str(certificate), "--keyfile", str(certificate)) as endpoint:
        yield endpoint


@pytest.mark.parametrize("http1", [False, True])
async def test_over_tls(client: EndpointClient, secure: Endpoint, certificate: Path, monkeypatch: pytest.MonkeyPatch, http1: bool) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    found = await discover(client, secure.url, http1=http1)
    assert secure.url.startswith("https://")
    output = await Invocation(client, found.address, "wire.Greeter/Wait", b"60000", Version.V6).run()
    assert output.value.content == b"slept"


@pytest.mark.parametrize("http1", [False, True])
async def test_a_certificate_of_nobody_known(client: EndpointClient, secure: Endpoint, http1: bool) -> None:
    with pytest.raises(RuntimeFault, match=r"cannot be reached: its certificate is not accepted: self.signed certificate"):
        await discover(client, secure.url, http1=http1)


@pytest.mark.parametrize("http1", [False, True])
async def test_https_where_there_is_none(client: EndpointClient, endpoint: Endpoint, http1: bool) -> None:
    with pytest.raises(RuntimeFault, match=r"cannot be reached: no TLS is spoken there .*: is its URL http"):
        await discover(client, endpoint.url.replace("http:", "https:"), http1=http1)


# ---- Manifests ----


def manifest(*handlers: dict[str, Any], ty: str = "SERVICE", name: str = "A", **fields: Any) -> bytes:
    service = {"name": name, "ty": ty, "handlers": list(handlers) or [{"name": "B"}], **fields}
    return json.dumps({"minProtocolVersion": 5, "maxProtocolVersion": 7, "services": [service]}).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (manifest(name="1A"), "'1A' is no name for a service"),
        (manifest(name="a/b"), "'a/b' is no name for a service"),
        (manifest(name="ReStateX"), "'ReStateX' has a name that belongs to the runtime"),
        (manifest(name="openapi"), "'openapi' has a name that belongs to the runtime"),
        (manifest(name="dev.restate.Ingress"), "'dev.restate.Ingress' has a name that belongs to the runtime"),
        (manifest({"name": "a.b"}), "A: 'a.b' is no name for a handler"),
        (manifest({"name": ""}), "A: '' is no name for a handler"),
        (manifest({"name": "B"}, {"name": "B"}), "A has two handlers called 'B'"),
        (manifest({"name": "B", "ty": "WORKFLOW"}, ty="VIRTUAL_OBJECT"), "A/B: a VIRTUAL_OBJECT has no handlers of type WORKFLOW"),
        (manifest({"name": "B", "ty": "EXCLUSIVE"}, ty="WORKFLOW"), "A/B: a WORKFLOW has no handlers of type EXCLUSIVE"),
        (manifest({"name": "B", "ty": "SHARED"}, ty="WORKFLOW"), "the workflow A needs one handler of type WORKFLOW"),
        (manifest({"name": "B"}, {"name": "C"}, ty="WORKFLOW"), "the workflow A needs one handler of type WORKFLOW"),
        (manifest(ty="ACTOR"), "cannot be read: Invalid enum value 'ACTOR'"),
        (manifest({"nome": "B"}), "cannot be read: Object missing required field `name`"),
        (manifest(inactivityTimeout=-1), "service A: inactivity_timeout is negative"),
        (manifest({"name": "B", "retryPolicyExponentiationFactor": 0.5}), "A/B: the factor of its retry policy is 0.5"),
        (manifest({"name": "B", "retryPolicyMaxAttempts": -1}), "A/B: the attempts of its retry policy are -1"),
        (b"\xff", "cannot be read"),
    ],
)
def test_manifests_that_break_a_rule(text: bytes, message: str) -> None:
    with pytest.raises(RuntimeFault, match=message) as caught:
        parse_manifest(text, "http://here")
    assert caught.value.code == "RT0603"
    assert caught.value.message.startswith("http://here")


def test_a_handlers_settings_come_before_its_services() -> None:
    own = {"retryPolicyMaxAttempts": 3, "retryPolicyOnMaxAttempts": "KILL", "ingressPrivate": False, "abortTimeout": 0}
    outer = {
        "retryPolicyMaxAttempts": 9,
        "retryPolicyInitialInterval": 20,
        "retryPolicyOnMaxAttempts": "PAUSE",
        "ingressPrivate": True,
        "abortTimeout": 5000,
        "journalRetention": 10**30,
    }
    service = parse_manifest(manifest({"name": "B", **own}, {"name": "C"}, ty="VIRTUAL_OBJECT", **outer), "x").services["A"]
    first, second = service.handlers["B"].settings, service.handlers["C"].settings
    assert (first.retry.max_attempts, first.retry.on_exhausted, first.retry.initial_interval) == (
        3,
        OnExhausted.FAIL,
        timedelta(milliseconds=20),
    )
    assert (first.private, first.abort_timeout) == (False, timedelta(0))
    assert (second.retry.max_attempts, second.retry.on_exhausted, second.private) == (9, OnExhausted.PAUSE, True)
    assert second.journal_retention is not None
    assert second.journal_retention > timedelta(days=300_000)
    assert second.idempotency_retention is None


def test_payloads_and_what_is_left_out() -> None:
    given = {"name": "B", "input": {}, "output": {"contentType": "application/proto", "setContentTypeIfEmpty": True}}
    handlers = parse_manifest(manifest(given, {"name": "C", "input": {"jsonSchema": {"type": "string"}}}), "x").services["A"].handlers
    assert handlers["B"].input.content_type is None
    assert (handlers["B"].output.content_type, handlers["B"].output.set_if_empty) == ("application/proto", True)
    assert json.loads(handlers["C"].input.json_schema or b"") == {"type": "string"}
    assert handlers["C"].output.content_type == "application/json"


def test_unknown_fields_of_later_versions_are_passed_over() -> None:
    text = manifest({"name": "B", "eagerStateKeys": ["x"]}, somethingNew=1)
    assert set(parse_manifest(text, "x").services["A"].handlers) == {"B"}
