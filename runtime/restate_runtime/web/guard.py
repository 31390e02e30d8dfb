"""Keeps web pages away from a local runtime.

A browser sends any page's requests to 127.0.0.1. Two checks stop them: a listener on loopback answers to loopback names only, which
defeats names that were rebound to 127.0.0.1; and a request that carries a foreign `Origin` is refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..errors import Code, TerminalError

__all__ = ["Guard", "is_loopback"]

_REMEMBERED = 256


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine itself."""
    address = _address(host)
    if address is not None:
        return address.is_loopback
    host = host.lower().rstrip(".")
    return host == "localhost" or host.endswith(".localhost")


def _hostname(netloc: str) -> str:
    """The host of `host:port`, without the brackets of IPv6; empty where it is none."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """The checks of one listener.

    Args:
        host: the host that it was bound to.
    """

    def __init__(self, host: str) -> None:
        self._host = host.lower()
        self._loopback_only = is_loopback(host)
        self._accepted: set[str] = set()

    def check(self, headers: Mapping[str, str]) -> None:
        """Lets a request pass, or not.

        Raises:
            TerminalError: PERMISSION_DENIED; the message says which header is not welcome.
        """
        netloc = headers.get("Host")
        if netloc is not None and netloc not in self._accepted:
            self._check_host(netloc)
        origin = headers.get("Origin")
        if origin is not None:
            self._check_origin(origin, netloc)

    def _check_host(self, netloc: str) -> None:
        host = _hostname(netloc)
        if not host or (self._loopback_only and not is_loopback(host)):
            raise TerminalError(
                f"the host '{netloc[:100]}' is not served here: this listener is bound to {self._host} and answers to loopback names only",
                Code.PERMISSION_DENIED,
            )
        if len(self._accepted) < _REMEMBERED:
            self._accepted.add(netloc)

    def _check_origin(self, origin: str, netloc: str | None) -> None:
        scheme, _, page = origin.partition("://")
        host = _hostname(page)
        # A name could be anybody's that was rebound to this machine; loopback names, addresses and the bound name cannot.
        own = is_loopback(host) or _address(host) is not None or host == self._host
        if scheme not in ("http", "https") or page != netloc or not own:
            raise TerminalError(f"requests of the web page at '{origin[:100]}' are refused", Code.PERMISSION_DENIED)
