"""URLs as people give them, and why nothing can be reached there."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import SplitResult, urlsplit

__all__ = ["split_url", "why_unreached"]


def split_url(url: str) -> SplitResult:
    """The parts of a URL that something can be asked at, where scheme and host do.

    What is wrong is found here: libraries find it only once they connect, and with errors that are none of the network.

    Raises:
        ValueError: it is no URL; the message names it and says why.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # it is read only now
        url.encode()
    except UnicodeError:
        raise ValueError(f"'{url}' is no URL: it is no UTF-8") from None
    except ValueError as error:
        raise ValueError(f"'{url}' is no URL: {error}") from None
    if not _may_be_host(parts.hostname or ""):
        raise ValueError(f"'{url}' is no URL: '{parts.hostname}' is no name of a host")
    return parts


def why_unreached(error: OSError) -> str:
    """Why a connection cannot be made, in words that follow a colon.

    Args:
        error: of the system, the resolver or TLS, or aiohttp's that holds it.
    """
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {cause.verify_message}"
        case ssl.SSLError():
            return f"no TLS is spoken there ({(cause.reason or str(cause)).lower().replace('_', ' ')}): is its URL http?"
        case OSError(errno=int(number)) if number > 0 and not isinstance(cause, socket.gaierror):
            return os.strerror(number)  # asyncio's own text says only that a call failed
        case _:  # a negative number is the resolver's, and no error of the system
            return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _may_be_host(name: str) -> bool:
    try:
        name.encode("idna")  # as the resolver does it
    except UnicodeError:
        return False
    return " " not in name and name.isprintable()
