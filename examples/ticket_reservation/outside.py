"""The world outside: a payment provider and a mail server.

Both are fakes that keep what they did in files, one line of JSON for each event, so that it survives a kill -9 of the runtime and can be
counted by anybody. Nothing here knows of the runtime.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

CONFIRM_FROM = 10_000
"""Payments of so many cents or more wait until the customer has confirmed them."""


class Journal:
    """An append-only file, synced after each line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        """Everything that was written, oldest first."""
        try:
            return [json.loads(line) for line in self.path.read_text().splitlines()]
        except FileNotFoundError:
            return []

    def append(self, **event: Any) -> None:
        """Returns once the line is on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, json.dumps(event).encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)


class PaymentProvider:
    """Takes payments, badly: it is out of order for the first two requests of every payment.

    A payment has a key that the shop chooses. However often the shop asks, each key is charged once.

    Args:
        folder: where `payments.jsonl` and `requests.jsonl` are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.payments = Journal(folder / "payments.jsonl")
        self.requests = Journal(folder / "requests.jsonl")

    def charge(self, key: str, user: str, cents: int, callback: str) -> str:
        """Asks for a payment: `charged`, `declined`, or `pending` until the customer confirms it at `callback`.

        Raises:
            ConnectionError: the provider is out of order.
        """
        with self._one_at_a_time():
            self.requests.append(key=key)
            for payment in self.payments.lines():
                if payment["key"] == key:
                    return str(payment["status"])
            if sum(request["key"] == key for request in self.requests.lines()) <= 2:
                raise ConnectionError("the payment provider is out of order")
            status = "declined" if user.startswith("broke") else "pending" if cents >= CONFIRM_FROM else "charged"
            self.payments.append(key=key, user=user, cents=cents, status=status, callback=callback)
            return status

    def void(self, key: str) -> None:
        """Gives a payment up. Asking twice does no harm."""
        with self._one_at_a_time():
            if not any(payment["key"] == key and payment["status"] == "void" for payment in self.payments.lines()):
                self.payments.append(key=key, status="void")

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Generator[None, None, None]:
        self.payments.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.payments.path.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class MailServer:
    """Sends e-mails, into `mails.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self.mails = Journal(folder / "mails.jsonl")

    def send(self, user: str, text: str) -> None:
        """Sends one e-mail."""
        self.mails.append(to=user, text=text)
