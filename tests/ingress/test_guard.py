"""A web page cannot reach a local runtime."""

from __future__ import annotations

from typing import Any

import pytest

from restate_runtime import TerminalError
from restate_runtime.web.guard import Guard

pytestmark = pytest.mark.rule("R38")

ECHO = "/sample.v1.Echo/Call"


async def test_a_loopback_listener_answers_to_loopback_names_only(served: Any) -> None:
    for http, path in ((served.http, "/restate/health"), (served.admin, "/health")):
        for host in ("localhost", "127.0.0.1:1", "[::1]:8080", "shop.localhost:80"):
            assert (await http.get(path, host=host)).status == 200
        for host in ("evil.example", "evil.example:8080", "10.0.0.1", "127.0.0.1.evil.example", "localhost.evil.example"):
            reply = await http.get(path, host=host)
            assert reply.error[:2] == (403, "permission_denied")


async def test_a_foreign_origin_is_refused(served: Any) -> None:
    for origin in ("http://evil.example", "null", "https://localhost:1", "file://", served.runtime.admin_url):
        assert (await served.http.post(ECHO, {}, origin=origin)).error[:2] == (403, "permission_denied")
        assert (await served.http.request("OPTIONS", ECHO, headers={"origin": origin})).status == 403
    assert (await served.http.post(ECHO, {"text": "x"}, origin=served.runtime.ingress_url)).status == 200
    assert len((await served.admin.get("/invocations")).json) == 1


async def test_what_a_form_can_send_is_no_call(served: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert (await served.http.post(ECHO, "{}", content_type=kind)).status == 415


def test_a_name_that_was_rebound_is_no_origin_of_a_public_listener() -> None:
    guard = Guard("0.0.0.0")
    guard.check({"Host": "shop.example:8080"})
    guard.check({"Host": "10.0.0.1:8080", "Origin": "http://10.0.0.1:8080"})
    with pytest.raises(TerminalError):
        guard.check({"Host": "evil.example:8080", "Origin": "http://evil.example:8080"})
