"""The tour: generates the code, serves the shop, drives it over HTTP, and kills it with -9 in the middle of a checkout.

    python run_tour.py

Each step is shown with the command that does the same by hand, and what it gives is checked: the exit status is 0 when all is as it
should be. Everything happens in a temporary folder, on free ports of this machine, and nothing stays behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parents[1] / "protos"
WAIT_S = 30.0
# The shop is on this machine: no proxy lies between.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))

BOLD, DIM, GREEN, RED, PLAIN = ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("",) * 5


class TourError(Exception):
    """Something is not as it should be."""


# --- what is shown


def chapter(title: str, text: str) -> None:
    print(f"\n{BOLD}{title}{PLAIN}\n")
    for line in text.strip().splitlines():
        print(f"  {line.strip()}")
    print()


def show(command: str) -> None:
    print(f"  {DIM}${PLAIN} {command}")


def show_output(text: str) -> None:
    for line in text.rstrip().splitlines():
        print(f"    {line}")


def check(what: str, found: object, expected: object) -> None:
    """One outcome of the tour."""
    if found != expected:
        raise TourError(f"{what}: expected {expected!r}, found {found!r}")
    print(f"  {GREEN}ok{PLAIN}  {what}")


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Waits for something to become true, and returns it."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise TourError(f"{what}: it did not happen within {WAIT_S:.0f} seconds")


# --- the shop as a process


class Shop:
    """The runtime with the ticket shop, as a process of its own.

    Args:
        folder: where generated code, data and the outside world live.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outside = folder / "outside-world"
        self.process: subprocess.Popen[str] | None = None
        self.ingress = self.admin = ""
        path = os.pathsep.join(filter(None, (str(folder / "generated"), os.environ.get("PYTHONPATH"))))
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TICKET_SHOP_OUTSIDE": str(self.outside),
            "NO_COLOR": "1",
            "COLUMNS": "180",
        }

    def generate(self) -> None:
        """From the contract to Python code."""
        show("python -m protoc_gen_restate generate -I protos --out generated protos/tour")
        self._run("-m", "protoc_gen_restate", "generate", "-I", str(PROTOS), "--out", str(self.folder / "generated"), str(PROTOS / "tour"))
        show_output("\n".join(sorted(path.name for path in (self.folder / "generated" / "tour").rglob("*.py*"))))

    def start(self) -> None:
        """Serves, and waits for the line with the addresses."""
        show("restate-runtime serve app:app --data-dir data &")
        addresses = ("--ingress", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command("serve", "app:app", "--data-dir", str(self.folder / "data"), *addresses, "--json"),
                cwd=HERE,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise TourError(f"the runtime did not start: {(self.folder / 'log').read_text()}")
        serving = json.loads(line)
        self.ingress, self.admin = serving["ingress"], serving["admin"]
        show_output(f"serving {self.ingress}, admin {self.admin}, process {self.process.pid}")

    def kill(self) -> None:
        """kill -9: no goodbye, nothing is flushed."""
        assert self.process is not None
        show(f"kill -9 {self.process.pid}")
        self.process.kill()
        self.process.wait()

    def stop(self) -> int | None:
        """SIGTERM, and the exit status; kill -9 where that does not help."""
        if self.process is None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def call(
        self,
        method: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        background: bool = False,
        quiet: bool = False,
    ) -> Any:
        """One call over HTTP, and what curl would be.

        Raises:
            ConnectionError: the runtime died before it answered.
        """
        headers = headers or {}
        path = f"/tour.v1.{method}" + ("/send" if background else "")
        if not quiet:
            extra = "".join(f" -H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
            show(f"curl {self.ingress}{path} -H 'content-type: application/json'{extra} -d {shlex.quote(json.dumps(body))}")
        request = urllib.request.Request(
            self.ingress + path, json.dumps(body).encode(), {"content-type": "application/json", **headers}, method="POST"
        )
        try:
            with HTTP.open(request, timeout=WAIT_S) as response:
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        except (urllib.error.URLError, OSError) as error:
            raise ConnectionError(str(error)) from None
        if not quiet:
            show_output(text)
        return json.loads(text)

    def command(self, *arguments: str) -> str:
        """`restate-runtime` with these arguments, and what it prints."""
        show(f"restate-runtime {shlex.join(arguments)}")
        output = self._tool(*arguments)
        show_output(output)
        return output

    def look(self, *arguments: str) -> Any:
        """The same as JSON, silently."""
        return json.loads(self._tool(*arguments, "--json"))

    def journal(self, name: str) -> list[dict[str, Any]]:
        """What a party outside has written down."""
        path = self.outside / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def ticket(self, ticket_id: str) -> str:
        """Where a ticket stands."""
        for row in self.look("state", "get", "tour.v1.TicketService", ticket_id):
            return str(row["value_json"].get("status", "AVAILABLE"))
        return "AVAILABLE"

    def _tool(self, *arguments: str) -> str:
        return self._output(self._command(*arguments, "--admin", self.admin))

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "restate_runtime.cli.main", *arguments]

    def _run(self, *arguments: str) -> str:
        return self._output([sys.executable, *arguments])

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self.environment, cwd=HERE, capture_output=True, text=True, timeout=WAIT_S * 4)
        if done.returncode != 0:
            raise TourError(f"{shlex.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


class Later:
    """A call in a thread of its own, like `curl ... &`."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.answer: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._call()
        except BaseException as error:
            self.error = error

    def result(self) -> Any:
        self._thread.join(WAIT_S)
        if self._thread.is_alive():
            raise TourError("a call got no answer")
        if self.error is not None:
            raise self.error
        return self.answer


# --- the tour


def reservations(shop: Shop) -> None:
    chapter(
        "1. Reservations: concurrency by key",
        """Ada and Bob both want seat 21. TicketService is KEYED by ticket: its calls for one ticket run one after the other,
        whoever makes them, so one of the two gets the seat. There is no lock and no transaction in the code.""",
    )
    ada = Later(lambda: shop.call("UserSession/AddTicket", {"userId": "ada", "ticketId": "seat-21"}, quiet=True))
    bob = Later(lambda: shop.call("UserSession/AddTicket", {"userId": "bob", "ticketId": "seat-21"}, quiet=True))
    show(f"""curl {shop.ingress}/tour.v1.UserSession/AddTicket ... -d '{{"userId": "ada", "ticketId": "seat-21"}}' &""")
    show(f"""curl {shop.ingress}/tour.v1.UserSession/AddTicket ... -d '{{"userId": "bob", "ticketId": "seat-21"}}' &""")
    answers = [ada.result(), bob.result()]
    check("one of the two has seat-21", sorted(answers), [False, True])
    winner = "ada" if answers[0] else "bob"
    check("a ticket that is reserved cannot be reserved again", shop.call("TicketService/Reserve", {"ticketId": "seat-21"}), False)

    chapter("2. State", "The cart is a protobuf message in the state of the user's key; the ticket knows who holds it.")
    shop.command("state", "get", "tour.v1.UserSession", winner)
    shop.command("state", "get", "tour.v1.TicketService", "seat-21")
    (row,) = shop.look("state", "get", "tour.v1.TicketService", "seat-21")
    check(f"seat-21 is held by {winner}", (row["value_json"]["status"], row["value_json"]["holder"]), ("RESERVED", winner))


def kill_in_the_middle(shop: Shop) -> None:
    chapter(
        "3. A checkout, and a kill -9 in the middle",
        """Carol reserves two seats: seat 30 for the usual 15 minutes, and seat 31 for 8 seconds only, so that we can watch it expire.
        Dora buys seat 40 at the same time. The payment provider is out of order: the first two requests of every payment fail, and the
        side effect `charge` is tried again, after a second, then after two.""",
    )
    shop.call("UserSession/AddTicket", {"userId": "carol", "ticketId": "seat-30"})
    check(
        "seat-31 is reserved for 8 seconds",
        shop.call("UserSession/AddTicket", {"userId": "carol", "ticketId": "seat-31"}, headers={"reserve-seconds": "8"}),
        True,
    )
    shop.call("UserSession/AddTicket", {"userId": "dora", "ticketId": "seat-40"})
    checkout = Later(lambda: shop.call("UserSession/Checkout", {"userId": "dora"}, headers={"idempotency-key": "dora-1"}))
    until("the first payment request has failed", lambda: shop.journal("requests"))
    print("  The first request to the payment provider has failed. Now, in the middle of the checkout:\n")
    shop.kill()
    try:
        checkout.result()
    except ConnectionError as error:
        show_output(f"curl: {error}")
    else:
        raise TourError("the checkout was answered by a runtime that is dead")
    check("nothing was paid so far", shop.journal("payments"), [])
    print("\n  The runtime is gone. Its data directory is as the kill left it. We start it again:\n")
    shop.start()
    print("\n  Dora's client does not know what became of her checkout, and asks again under the same idempotency key:\n")
    answer = shop.call("UserSession/Checkout", {"userId": "dora"}, headers={"idempotency-key": "dora-1"})
    check("the checkout that was killed has been carried on to its end", answer, True)
    check(
        "every request to the provider, before the kill and after it, was for one payment",
        len({row["key"] for row in shop.journal("requests")}),
        1,
    )
    check("and charged once", [(row["user"], row["cents"], row["status"]) for row in shop.journal("payments")], [("dora", 4200, "charged")])
    check("seat-40 cannot be reserved any more", shop.call("TicketService/Reserve", {"ticketId": "seat-40"}), False)
    check("because it is sold", shop.ticket("seat-40"), "SOLD")
    check("Dora has a mail", [row["to"] for row in shop.journal("mails")], ["dora"])
    again = shop.call("UserSession/Checkout", {"userId": "dora"}, headers={"idempotency-key": "dora-1"}, quiet=True)
    check("asking once more gives the same answer, and charges nothing", (again, len(shop.journal("payments"))), (True, 1))


def what_happened(shop: Shop) -> None:
    chapter(
        "4. What happened: the journal",
        """Each step of a handler is recorded. After the restart the handler ran again from its beginning; steps that had a result
        took it from here instead of doing them again, so the payment key is the one that was chosen before the kill.""",
    )
    shop.command("invocations", "list", "--service", "tour.v1.Checkout")
    (row,) = shop.look("invocations", "list", "--service", "tour.v1.Checkout")
    shop.command("invocations", "describe", row["id"])
    described = shop.look("invocations", "describe", row["id"])
    steps = [entry for entry in described["journal"] if "run" in entry["entry"]]
    check("the side effects, each with one result", [entry["completed"] for entry in steps], [True] * 3)
    check("the payment key in the journal is the one that was charged", steps[0]["value"], shop.journal("payments")[0]["key"])


def expiry(shop: Shop) -> None:
    chapter(
        "5. Delayed calls: the reservation that expires",
        """AddTicket made a delayed call to ExpireTicket. A delayed call is a durable timer: this one was set before the kill, and
        goes off after it. The others are still scheduled.""",
    )
    shop.command("invocations", "list", "--service", "tour.v1.UserSession", "--status", "scheduled")
    until("seat-31 expires", lambda: shop.ticket("seat-31") == "AVAILABLE")
    check("seat-31 is back on sale", shop.ticket("seat-31"), "AVAILABLE")
    check("seat-30, in the same cart, is not", shop.ticket("seat-30"), "RESERVED")
    check("and Bob can have seat-31", shop.call("UserSession/AddTicket", {"userId": "bob", "ticketId": "seat-31"}), True)


def awakeable(shop: Shop) -> None:
    chapter(
        "6. Awakeables: a payment that somebody else confirms",
        """Erin buys three seats. That is more than 100.00, so the provider wants her to confirm it, and the checkout waits for that: for an
        hour at most, in no thread and, after a while, in no memory. It holds an awakeable, a promise with an id, which the
        provider got together with the payment.""",
    )
    for seat in ("seat-50", "seat-51", "seat-52"):
        check(f"{seat} is reserved", shop.call("UserSession/AddTicket", {"userId": "erin", "ticketId": seat}, quiet=True), True)
    accepted = shop.call("UserSession/Checkout", {"userId": "erin"}, background=True)
    payment = pending(shop, "erin")
    until("the checkout waits", lambda: waiting(shop))
    shop.command("invocations", "list", "--status", "running", "--status", "suspended")
    print("\n  Outside, Erin confirms, and the provider calls back:\n")
    shop.command("awakeables", "resolve", payment["callback"], '{"approved": true, "reference": "P-1"}')
    check("the checkout has gone on to its end", attached(shop, accepted["invocationId"]), True)
    check("her seats cannot be reserved any more", shop.call("TicketService/Reserve", {"ticketId": "seat-52"}, quiet=True), False)
    check("because they are sold", [shop.ticket(seat) for seat in ("seat-50", "seat-51", "seat-52")], ["SOLD"] * 3)

    chapter("7. When it goes wrong", "Frank does not confirm: it was not him. The payment is given up and his seats go back on sale.")
    for seat in ("seat-60", "seat-61", "seat-62"):
        check(f"{seat} is reserved", shop.call("UserSession/AddTicket", {"userId": "frank", "ticketId": seat}, quiet=True), True)
    accepted = shop.call("UserSession/Checkout", {"userId": "frank"}, background=True)
    shop.command("awakeables", "reject", pending(shop, "frank")["callback"], "not me")
    check("his checkout says no", attached(shop, accepted["invocationId"]), False)
    check("seat-60 can be reserved again", shop.call("UserSession/AddTicket", {"userId": "erin", "ticketId": "seat-60"}), True)
    print("\n  A user called `broke` has no money:\n")
    shop.call("UserSession/AddTicket", {"userId": "broke", "ticketId": "seat-70"})
    check("declined", shop.call("UserSession/Checkout", {"userId": "broke"}), False)
    check("seat-70 can be reserved again", shop.call("UserSession/AddTicket", {"userId": "erin", "ticketId": "seat-70"}), True)


def totals(shop: Shop) -> None:
    chapter("8. The box office", "A SINGLETON has one key: the whole service. It has seen one sale at a time, and none twice.")
    found = shop.call("BoxOffice/Totals", {})
    check("two sales, four tickets", found, {"sales": "2", "tickets": "4", "amount": "16800"})
    money = sum(row["cents"] for row in shop.journal("payments") if row["status"] in ("charged", "pending") and row["user"] != "frank")
    check("as much as the payment provider says", money, 16800)


def bad_input(shop: Shop) -> None:
    chapter("9. Bad input", "It is refused with a code and a hint, and nothing is stored.")
    check("an unknown method", shop.call("UserSession/AddTickets", {})["code"], "not_found")
    check("an unknown field", shop.call("UserSession/AddTicket", {"userId": "ada", "ticket": "x"})["code"], "invalid_argument")
    check("an empty key", shop.call("UserSession/AddTicket", {"ticketId": "seat-1"})["code"], "invalid_argument")


def pending(shop: Shop, user: str) -> dict[str, Any]:
    """The user's payment at the provider, once it waits for a confirmation."""
    until(f"the payment of {user} is pending", lambda: user in [row.get("user") for row in shop.journal("payments")])
    return next(row for row in shop.journal("payments") if row.get("user") == user)


def waiting(shop: Shop) -> bool:
    """Whether a checkout waits for its awakeable."""
    rows = shop.look("invocations", "list", "--service", "tour.v1.Checkout")
    live = [row for row in rows if row["status"] != "completed"]
    return any("awakeable" in str(shop.look("invocations", "describe", row["id"])["waiting_for"]) for row in live)


def attached(shop: Shop, invocation_id: str) -> Any:
    """The result of an invocation."""
    url = f"{shop.ingress}/restate/invocation/{invocation_id}/attach"
    show(f"curl {url}")
    with HTTP.open(url, timeout=WAIT_S) as response:
        text = response.read().decode()
    show_output(text)
    return json.loads(text)


@contextlib.contextmanager
def opened() -> Generator[Shop, None, None]:
    """A shop in a temporary folder; it is closed and gone in any case."""
    with tempfile.TemporaryDirectory(prefix="ticket-shop-") as folder:
        shop = Shop(Path(folder))
        try:
            yield shop
        finally:
            shop.stop()


def interrupted(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    signal.signal(signal.SIGTERM, interrupted)
    began = time.monotonic()
    try:
        with opened() as shop:
            chapter(
                "The ticket shop", "The contract, tour.proto, gives the messages, and a typed client and a server base for each service:"
            )
            shop.generate()
            print("\n  services.py implements the bases, app.py puts them together. We serve them, with their data in a folder:\n")
            shop.start()
            for step in (reservations, kill_in_the_middle, what_happened, expiry, awakeable, totals, bad_input):
                step(shop)
            print()
            check("the runtime stops in order", shop.stop(), 0)
    except TourError as error:
        print(f"\n{RED}not as it should be:{PLAIN} {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\n{BOLD}Everything is as it should be{PLAIN}, after {time.monotonic() - began:.0f} seconds. README.md tells why.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
