"""The services under test: their `Script` methods do what a test's script says, wherever they run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from sample.v1.cart_pb2 import Item, Items, User
from sample.v1.cart_restate import BoardBase, CartBase, CartContext, SharedCartContext
from sample.v1.events_pb2 import Blob, Page, Question
from sample.v1.events_restate import FeedBase, StreamBase
from sample.v1.sample_pb2 import AddRequest, CounterKey, KeyedText, LineList, Number, Text
from sample.v1.sample_restate import CounterBase, CounterClient, EchoBase, EchoClient, LedgerBase

from dev.restate.events_pb2 import Event
from restate_runtime import (
    App,
    Call,
    Caller,
    InvocationHandle,
    KeyedContext,
    RetryPolicy,
    SharedSingletonContext,
    SingletonContext,
    UnkeyedContext,
)
from restate_runtime.retry import OnExhausted

EXAMPLE = Path(__file__).parents[2] / "examples" / "ticket_reservation"
if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))

Script = Callable[[Any, Any], Awaitable[Any]]
Body = TypeVar("Body", bound=Script)

SCRIPTS: dict[str, Script] = {}
FIRST = "first"
"""The App's first release. Later ones host one service more, `Stream`."""
RELEASE = "CONTRACT_RELEASE"
"""Environment variable: the release of an App in a process of its own."""
OUTSIDE = "CONTRACT_OUTSIDE"
"""Environment variable: the folder of what handlers write down."""


def script(body: Body) -> Body:
    """Decorator: the function can be played, by its name, in every process that imports its module."""
    SCRIPTS[f"{body.__module__.rpartition('.')[2]}.{body.__name__}"] = body
    return body


class Outside:
    """A list of lines outside every engine: what a side effect did, and how often."""

    def __init__(self, name: str) -> None:
        self._path = Path(os.environ[OUTSIDE]) / name

    def write(self, line: str) -> int:
        """Adds a line; the number of lines."""
        with self._path.open("a") as file:
            file.write(line + "\n")
        return len(self.lines())

    def erase(self) -> None:
        """There are no lines any more."""
        self._path.unlink()

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []


async def _play(ctx: Any, text: str) -> str:
    name, argument = json.loads(text)
    return json.dumps(await SCRIPTS[name](ctx, argument))


_PLAYED_BY: ContextVar[str] = ContextVar("release")


def played_by() -> str:
    """The release of the App that plays the script at hand."""
    return _PLAYED_BY.get()


class Echo(EchoBase):
    def __init__(self, release: str = FIRST) -> None:
        super().__init__()
        self._release = release

    async def call(self, ctx: UnkeyedContext, request: Text) -> Text:
        return request

    async def script(self, ctx: UnkeyedContext, request: Text) -> Text:
        _PLAYED_BY.set(self._release)
        return Text(text=await _play(ctx, request.text))


class Counter(CounterBase):
    async def add(self, ctx: KeyedContext, request: AddRequest) -> Number:
        total = (await ctx.get("total", int) or 0) + request.amount
        ctx.set("total", total)
        return Number(value=total)

    async def get(self, ctx: KeyedContext, request: CounterKey) -> Number:
        return Number(value=await ctx.get("total", int) or 0)

    async def script(self, ctx: KeyedContext, request: KeyedText) -> Text:
        return Text(text=await _play(ctx, request.text))


class Ledger(LedgerBase):
    async def append(self, ctx: SingletonContext, request: Text) -> None:
        ctx.set("lines", [*(await ctx.get("lines", list[str]) or []), request.text])

    async def lines(self, ctx: SingletonContext) -> LineList:
        return LineList(lines=await ctx.get("lines", list[str]) or [])


class Cart(CartBase):
    async def add(self, ctx: CartContext, request: Item) -> Items:
        items = await ctx.state.items.get() or Items()
        items.names.append(request.name)
        ctx.state.items.set(items)
        ctx.state.total.set(len(items.names))
        return items

    async def turn(self, ctx: CartContext, request: Item) -> Items:
        return Items(names=[await _play(ctx, request.name)])

    async def show(self, ctx: SharedCartContext, request: User) -> Items:
        return await ctx.state.items.get() or Items()

    async def look(self, ctx: SharedCartContext, request: Item) -> Items:
        return Items(names=[await _play(ctx, request.name)])

    async def sleepy(self, ctx: CartContext, request: Item) -> Items:
        return Items(names=[await _play(ctx, request.name)])


class Board(BoardBase):
    async def write(self, ctx: SingletonContext, request: Item) -> None:
        ctx.set("lines", [*(await ctx.get("lines", list[str]) or []), request.name])

    async def read(self, ctx: SharedSingletonContext) -> Items:
        return Items(names=await ctx.get("lines", list[str]) or [])


class Feed(FeedBase):
    async def read(self, ctx: KeyedContext, request: Page) -> Page:
        before = await ctx.get("before", int) or 0
        ctx.set("before", before + 1)
        ctx.set("last", request)
        return Page(feed=request.feed, text=request.text, about=request.about, before=before)

    async def store(self, ctx: KeyedContext, request: Blob) -> Blob:
        ctx.set("last", request)
        return request

    async def take(self, ctx: KeyedContext, request: Event) -> Event:
        ctx.set("last", request)
        return request

    async def ask(self, ctx: KeyedContext, request: Question) -> Question:
        return request


class Stream(StreamBase):
    async def take(self, ctx: UnkeyedContext, request: Event) -> Event:
        return request


def make_app(release: str = FIRST) -> App:
    """The App of the suite: failed attempts are retried fast, and few times. The ticket shop of the examples is in it.

    On a cluster an endpoint that is not there costs attempts: they last for as long as a restart of it takes.
    """
    from outside import MailServer, PaymentProvider
    from services import BoxOffice, Checkout, TicketService, UserSession

    retry = RetryPolicy(
        initial_interval=timedelta(milliseconds=50),
        max_interval=timedelta(milliseconds=400),
        max_attempts=4,
        on_exhausted=OnExhausted.PAUSE,
    )
    world = Path(os.environ[OUTSIDE])
    checkout = Checkout(PaymentProvider(world), MailServer(world), retry=RetryPolicy(initial_interval=timedelta(milliseconds=1)))
    shop = (UserSession(), TicketService(), checkout, BoxOffice())
    late = () if release == FIRST else (Stream(),)
    return App(Echo(release), Counter(), Ledger(), Cart(), Board(), Feed(), *late, *shop, retry=retry)


def line(body: Script, argument: Any) -> str:
    """A script and its argument as text, for rpcs that play what they are told."""
    return json.dumps([f"{body.__module__.rpartition('.')[2]}.{body.__name__}", argument])


def begin(caller: Caller, body: Script, argument: Any = None, *, key: str | None = None, **options: Any) -> Call[Text]:
    """An awaited call that plays a script: in `Echo`, or in `Counter` where a key is given."""
    if key is None:
        return EchoClient(caller).script(Text(text=line(body, argument)), **options)
    return CounterClient(caller).script(KeyedText(key=key, text=line(body, argument)), **options)


async def play(caller: Caller, body: Script, argument: Any = None, *, key: str | None = None, **options: Any) -> Any:
    """What a script returns."""
    return json.loads((await begin(caller, body, argument, key=key, **options)).text)


def send(caller: Caller, body: Script, argument: Any = None, *, key: str | None = None, **options: Any) -> InvocationHandle[Text]:
    """A background call that plays a script."""
    if key is None:
        return EchoClient(caller).script.in_background(Text(text=line(body, argument)), **options)
    return CounterClient(caller).script.in_background(KeyedText(key=key, text=line(body, argument)), **options)


async def answer_of(caller: Any, id: str) -> Any:
    """What a script returned, by its invocation's id: a handle that knows no more may give bytes."""
    result = await caller.invocation(id).result()
    return answer(result if isinstance(result, Text) else Text.FromString(result))


def answer(text: Text) -> Any:
    """What a script returned."""
    return json.loads(text.text)


__all__ = [
    "FIRST",
    "OUTSIDE",
    "RELEASE",
    "SCRIPTS",
    "Outside",
    "answer",
    "answer_of",
    "begin",
    "line",
    "make_app",
    "play",
    "played_by",
    "script",
    "send",
]
