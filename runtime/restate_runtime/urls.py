"""URLs as people give them."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

__all__ = ["split_url"]


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


def _may_be_host(name: str) -> bool:
    try:
        name.encode("idna")  # as the resolver does it
    except UnicodeError:
        return False
    return " " not in name and name.isprintable()
