"""What a cluster sees of an App: services, handlers, options, payloads."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sample.v1.cart_pb2 import Item, Items
from sample.v1.cart_restate import BOARD, CART, BoardBase
from sample.v1.sample_pb2 import AddRequest, KeyedText, Number, Text
from sample.v1.sample_restate import COUNTER, ECHO, CounterBase, EchoBase, LedgerClient

from restate_runtime import App, Code, RetryPolicy, TerminalError
from restate_runtime.cluster import endpoint, lambda_handler
from restate_runtime.descriptor_set import METADATA, describe, unpack
from restate_runtime.errors import RuntimeFault
from restate_runtime.statuses import status_of

from ..contract.server import Server
from ..contract.services import Board, Cart, Counter, Echo, Ledger
from .hosted import PROTO, hosting


def handlers(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {handler["name"]: handler for handler in service["handlers"]}


async def test_services_as_the_cluster_sees_them(server: Server) -> None:
    async with hosting(server, App(Echo(), Counter(), Cart(), Board(), private=[Echo])) as hosted:
        services = {service["name"]: service for service in hosted.deployment["services"]}
    assert {name: service["ty"] for name, service in services.items()} == {
        ECHO.name: "Service",
        COUNTER.name: "VirtualObject",
        CART.name: "VirtualObject",
        BOARD.name: "VirtualObject",
    }
    cart = handlers(services[CART.name])
    assert {name: handler["ty"] for name, handler in cart.items()} == {
        "Add": "Exclusive",
        "Turn": "Exclusive",
        "Show": "Shared",
        "Look": "Shared",
        "Sleepy": "Exclusive",
    }
    assert [name for name, handler in cart.items() if not handler["public"]] == ["Sleepy"]
    assert not any(handler["public"] for handler in services[ECHO.name]["handlers"])
    assert cart["Show"]["documentation"] == "What is in the cart: it takes no turn."
    assert services[CART.name]["documentation"] == "A cart for each user."
    assert cart["Sleepy"]["inactivity_timeout"] == "1ms"
    assert cart["Sleepy"]["journal_retention"] == cart["Sleepy"]["idempotency_retention"] == "1d"
    assert cart["Add"]["retry_policy"] == {
        "initial_interval": "1ms",
        "exponentiation_factor": 2.0,
        "max_attempts": 2,
        "max_interval": "10s",
        "on_max_attempts": "Kill",
    }
    assert cart["Look"]["retry_policy"]["max_attempts"] == 3


def test_the_page_has_the_numbers_of_the_codes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "endpoints.md").read_text()
    missing = [code.name for code in Code if code is not Code.OK and f"| `{code.name}` | {status_of(code)} |" not in page]
    assert not missing
    assert len({status_of(code) for code in Code if code is not Code.OK}) == len(Code) - 1
    assert METADATA in page


async def test_descriptors_travel(server: Server) -> None:
    async with hosting(server, App(Cart(), Counter())) as hosted:
        for own in (CART, COUNTER):
            service = (await hosted.ask("GET", f"{server.admin}/services/{own.name}")).json
            described = describe(unpack(service["metadata"][METADATA]))[own.name]
            assert described.kind is own.kind
            assert [method.key_field for method in described.methods] == [method.key_field for method in own.methods]


async def test_json_in_json_out(server: Server) -> None:
    async with hosting(server, App(Echo(), Counter(), Board())) as hosted:
        assert (await hosted.call(f"{ECHO.name}/Call", b'{"text": "x"}')).json == {"text": "x"}
        assert (await hosted.call(f"{COUNTER.name}/json/Add", b'{"amount": 2}')).json == {"value": "2"}
        assert (await hosted.call(f"{BOARD.name}/_/Read")).status == 200
        # As services written with Restate's SDKs do it: no content type.
        assert (await hosted.call(f"{ECHO.name}/Call", b'{"text": "y"}', {"content-type": ""})).json == {"text": "y"}


@pytest.mark.rule("R45")
async def test_bad_requests(server: Server) -> None:
    async with hosting(server, App(Echo(), Counter())) as hosted:
        typo = await hosted.call(f"{ECHO.name}/Call", b'{"txt": "x"}')
        assert (typo.status, "did you mean" in typo.json["message"]) == (400, True)
        broken = await hosted.call(f"{ECHO.name}/Call", b"\xff\xff", PROTO)
        assert (broken.status, "is no sample.v1.Text" in broken.json["message"]) == (400, True)
        other = await hosted.call(f"{COUNTER.name}/a/Add", AddRequest(name="b").SerializeToString(), PROTO)
        assert (other.status, "'b'" in other.json["message"]) == (400, True)
        assert other.headers["x-restate-error-source"] == "invocation"


async def test_a_singleton_has_one_key(server: Server) -> None:
    """With another one it would be another object, with a state of its own."""
    async with hosting(server, App(Board())) as hosted:
        assert (await hosted.call(f"{BOARD.name}/_/Write", b'{"name": "here"}')).status == 200
        for method in ("Write", "Read"):
            other = await hosted.call(f"{BOARD.name}/other/{method}", b"{}")
            assert (other.status, "has the key '_'" in other.json["message"]) == (400, True)
        assert (await hosted.call(f"{BOARD.name}/_/Read")).status == 200


@pytest.mark.rule("R3")
async def test_an_empty_message_is_no_body(server: Server) -> None:
    async with hosting(server, App(Echo())) as hosted:
        answer = await hosted.call(f"{ECHO.name}/Call", b"", PROTO)
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.rule("R36")
async def test_private_services_are_closed_to_callers_outside(server: Server) -> None:
    async with hosting(server, App(Echo(), Counter(), private=[Counter])) as hosted:
        assert (await hosted.call(f"{COUNTER.name}/k/Add", b"{}")).status == 400
        assert (await hosted.call(f"{ECHO.name}/Call", b'{"text": "x"}')).status == 200


class Tries(EchoBase):
    """Does what the test says, and counts its attempts."""

    def __init__(self) -> None:
        self.attempts = 0

    async def call(self, ctx: Any, request: Text) -> Text:
        self.attempts += 1
        if request.text == "mend" and self.attempts > 3:
            return Text(text=str(ctx.attempt))
        raise ValueError(f"attempt {self.attempts}")

    async def script(self, ctx: Any, request: Text) -> Text:
        self.attempts += 1
        if self.attempts == 1:
            await ctx.run("first", lambda: 1)
            raise ValueError("once")
        await ctx.run("second", lambda: 2)
        return Text()


@pytest.mark.rule("R13")
async def test_spent_attempts_pause_and_can_be_resumed(server: Server) -> None:
    tries = Tries()
    async with hosting(server, App(tries, retry=RetryPolicy(initial_interval=timedelta(milliseconds=1), max_attempts=3))) as hosted:
        id = await hosted.send(f"{ECHO.name}/Call", b'{"text": "mend"}')
        await hosted.reached(id, "paused")
        assert tries.attempts == 3
        assert (await hosted.ask("PATCH", f"{server.admin}/invocations/{id}/resume")).status in (200, 202)
        assert (await hosted.reached(id, "completed"))["completion_result"] == "success"


@pytest.mark.rule("R20")
async def test_a_mismatch_pauses_and_performs_nothing(server: Server) -> None:
    tries = Tries()
    async with hosting(server, App(tries, retry=RetryPolicy(initial_interval=timedelta(milliseconds=1), max_attempts=3))) as hosted:
        id = await hosted.send(f"{ECHO.name}/Script", b"{}")
        await hosted.reached(id, "paused")
        runs = await hosted.sql(f"select name from sys_journal where id = '{id}' and entry_type = 'Command: Run'")
        assert [run["name"] for run in runs] == ["first"]


class Wrong(EchoBase):
    async def call(self, ctx: Any, request: Text) -> Text:
        return Number(value=1)  # type: ignore[return-value]

    async def script(self, ctx: Any, request: Text) -> Text:
        ctx.sleep("5s")
        return Text()


async def test_mistakes_of_handlers_are_retried_and_told(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async with hosting(server, App(Wrong(), retry=RetryPolicy(initial_interval=timedelta(milliseconds=1), max_attempts=2))) as hosted:
        for method, told in (("Call", "must return a Text, not a Number"), ("Script", "takes a datetime.timedelta, not a str")):
            id = await hosted.send(f"{ECHO.name}/{method}", b"{}")
            await hosted.reached(id, "paused")
            assert told in caplog.text
            events = await hosted.sql(f"select event_json from sys_journal_events where id = '{id}'")
            assert any(told in event["event_json"] for event in events)


class Parallel(CounterBase):
    """Handlers that are inside at the same time."""

    def __init__(self) -> None:
        self.inside: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def add(self, ctx: Any, request: AddRequest) -> Number:
        self.inside[ctx.key] = self.inside.get(ctx.key, 0) + 1
        self.most[ctx.key] = max(self.most.get(ctx.key, 0), self.inside[ctx.key])
        await asyncio.sleep(0.01)
        self.inside[ctx.key] -= 1
        return Number()

    async def get(self, ctx: Any, request: Any) -> Number:
        raise TerminalError("unused")

    async def script(self, ctx: Any, request: KeyedText) -> Text:
        raise TerminalError("unused")


@pytest.mark.rule("R42")
async def test_one_at_a_time_for_a_key(server: Server) -> None:
    parallel = Parallel()
    async with hosting(server, App(parallel)) as hosted:
        keys = ["a%2Fb", "%C3%A4", "a%20b"] * 5
        answers = await asyncio.gather(*(hosted.call(f"{COUNTER.name}/{key}/Add", b"{}") for key in keys))
    assert {answer.status for answer in answers} == {200}
    assert parallel.most == {"a/b": 1, "ä": 1, "a b": 1}


class Named(BoardBase):
    async def write(self, ctx: Any, request: Item) -> None:
        return None

    async def read(self, ctx: Any) -> Items:
        return Items()


def test_names_that_a_cluster_keeps_to_itself() -> None:
    app = App(Named())
    service = app.registry.services[BOARD.name]
    app.registry.services["restate.Board"] = replace(
        service, name="restate.Board", descriptor=replace(BOARD, name="restate.Board", generated=False)
    )
    with pytest.raises(RuntimeFault, match=r"cannot host 'restate\.Board'") as caught:
        endpoint(app)
    assert caught.value.code == "RT0107"


ACCEPT = (b"accept", b"application/vnd.restate.endpointmanifest.v4+json")


async def ask(app: Any, path: str, headers: list[tuple[bytes, bytes]]) -> int:
    """A request to an ASGI application: its status."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "2", "method": "GET", "path": path, "headers": [ACCEPT, *headers]}
    await app(scope, receive, send)
    return int(sent[0]["status"])


async def test_only_who_is_known_may_call() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from restate_runtime.engine.remote.identity import RequestIdentity

    known, stranger = RequestIdentity(Ed25519PrivateKey.generate()), RequestIdentity(Ed25519PrivateKey.generate())
    app = endpoint(App(Echo()), identity_keys=[known.public_key + "\n"])  # as a file has it, of which a secret was made
    for identity, status in ((known, 200), (stranger, 401)):
        headers = [(name.encode(), value.encode()) for name, value in identity.headers("/discover").items()]
        assert await ask(app, "/discover", headers) == status
    assert await ask(app, "/discover", []) == 401
    assert await ask(app, "/health", []) == 200


def test_an_identity_key_that_is_none() -> None:
    with pytest.raises(RuntimeFault, match="publickeyv1_") as caught:
        endpoint(App(Echo()), identity_keys=["secret"])
    assert caught.value.code == "RT0002"


@pytest.mark.parametrize("hosting", [endpoint, lambda_handler])
@pytest.mark.parametrize("app", [object(), App, Echo()])
def test_what_is_no_app(hosting: Any, app: object) -> None:
    with pytest.raises(TypeError, match=f"^an endpoint hosts an App, not a {type(app).__name__}$"):
        hosting(app)


@pytest.mark.parametrize("hosting", [endpoint, lambda_handler])
def test_one_identity_key_in_place_of_several(hosting: Any) -> None:
    with pytest.raises(TypeError, match=r"^identity_keys is a list of public keys, not a str: "):
        hosting(App(Echo()), identity_keys="publickeyv1_x")


@pytest.mark.parametrize(
    ("missing", "arguments", "told"),
    [
        ("restate", ["endpoint", "nothing:app"], "an endpoint needs restate-sdk"),
        ("restate", ["gateway", "--cluster", "http://127.0.0.1:1"], "the gateway needs restate-sdk"),
        ("hypercorn", ["endpoint", "nothing:app"], "an endpoint needs hypercorn"),
    ],
)
def test_a_command_without_its_extra(missing: str, arguments: list[str], told: str) -> None:
    program = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else found(name, *rest)\n"
        f"sys.modules[{missing!r}] = None\n"
        "from restate_runtime.cli.main import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.stderr == f"error: {told}: pip install 'protoc-gen-restate[cluster]' [RT0008]\n"


@pytest.mark.rule("R19")
async def test_a_call_waits_for_its_callee_to_be_hosted(server: Server) -> None:
    async with hosting(server, App(Calls())) as hosted:
        id = await hosted.send(f"{ECHO.name}/Call", b'{"text": "x"}')
        await hosted.reached(id, "backing-off", "running", "suspended")
        async with hosting(server, App(Ledger())):
            row = await hosted.reached(id, "completed")
            assert row["completion_result"] == "success"


class Calls(EchoBase):
    """Calls another service."""

    async def call(self, ctx: Any, request: Text) -> Text:
        await LedgerClient(ctx).append(request)
        return request

    async def script(self, ctx: Any, request: Text) -> Text:
        return request


def test_an_endpoint_without_the_sdk_says_what_to_install() -> None:
    program = (
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'restate' else found(name, *rest)\n"
        "import restate_runtime.cluster"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: an endpoint needs restate-sdk: pip install 'protoc-gen-restate[cluster]'"


async def test_state_in_the_clusters_own_tools(server: Server) -> None:
    """Text stays readable there, and what is edited there is read here."""
    async with hosting(server, App(Counter())) as hosted:
        await hosted.call(f"{COUNTER.name}/edited/Add", b'{"amount": 2}')
        where = f"service_name = '{COUNTER.name}' and service_key = 'edited'"
        (row,) = await hosted.sql(f"select value_utf8 from state where {where}")
        assert row["value_utf8"] == "\0json\x002"
        edited = json.dumps({"object_key": "edited", "new_state": {"total": list(b"40")}}).encode()
        answer = await hosted.ask("POST", f"{server.admin}/services/{COUNTER.name}/state", edited, {"content-type": "application/json"})
        assert answer.status == 202
        while (await hosted.sql(f"select value_utf8 from state where {where}"))[0]["value_utf8"] != "40":
            await asyncio.sleep(0.01)
        assert (await hosted.call(f"{COUNTER.name}/edited/Add", b'{"amount": 2}')).json == {"value": "42"}


async def test_large_state_is_asked_for(server: Server) -> None:
    """The server of the tests sends no state beyond 16 KiB along."""
    async with hosting(server, App(Large())) as hosted:
        await hosted.call(f"{COUNTER.name}/large/Add", b"{}")
        id = await hosted.send(f"{COUNTER.name}/large/Get", b"{}")
        await hosted.reached(id, "completed")
        entries = await hosted.sql(f"select entry_type from sys_journal where id = '{id}'")
        assert "Command: GetLazyState" in {entry["entry_type"] for entry in entries}


class Large(Parallel):
    async def add(self, ctx: Any, request: AddRequest) -> Number:
        ctx.set("large", "x" * 100_000)
        return Number()

    async def get(self, ctx: Any, request: Any) -> Number:
        return Number(value=len(await ctx.get("large", str)))


class Naps(Tries):
    """Waits for what no journal knows."""

    async def call(self, ctx: Any, request: Text) -> Text:
        await asyncio.sleep(0.001)
        return request

    async def script(self, ctx: Any, request: Text) -> Text:
        await ctx.sleep(timedelta(milliseconds=1))
        return Text(text=await ctx.run("durable", lambda: "d"))


@pytest.mark.rule("R10")
async def test_dev_mode_reports_what_is_foreign(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    for dev in (False, True):
        async with hosting(server, App(Naps()), dev=dev) as hosted:
            assert (await hosted.call(f"{ECHO.name}/Call", b'{"text": "x"}')).json == {"text": "x"}
            assert (await hosted.call(f"{ECHO.name}/Script", b"{}")).json == {"text": "d"}
        assert caplog.text.count("awaits something foreign at cluster/test_endpoint.py") == caplog.text.count("foreign") == dev
