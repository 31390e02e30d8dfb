"""Request identity: a runtime signs what it sends, so that an endpoint that knows its public key takes nothing from anybody else.

Scheme v1 of Restate: a JWT over the request's path, signed with Ed25519 and valid for a minute. Endpoints are given the public key as
`publickeyv1_...`: their SDKs' option `identity_keys`.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ...errors import RuntimeFault

__all__ = ["RequestIdentity"]

_PREFIX = "publickeyv1_"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALID_S = 60  # before and after the moment: clocks differ


class RequestIdentity:
    """Signs requests.

    Attributes:
        public_key: what endpoints are given.
    """

    def __init__(self, private_key: Any, clock: Callable[[], float] = time.time) -> None:
        """`private_key` is an `Ed25519PrivateKey` of the library `cryptography`."""
        self._sign: Callable[[bytes], bytes] = private_key.sign
        self._clock = clock
        self.public_key = _PREFIX + _base58(private_key.public_key().public_bytes_raw())
        self._head = _base64(msgspec.json.encode({"typ": "JWT", "alg": "EdDSA", "kid": self.public_key}))

    @staticmethod
    def load(path: Path) -> RequestIdentity:
        """The identity of a private key: a PEM file (PKCS #8), such as `openssl genpkey -algorithm ed25519 -out FILE` makes.

        Raises:
            RuntimeFault: RT0007, the file cannot be read or holds no such key, or the library `cryptography` is not installed.
        """
        try:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ImportError:
            text = "request_identity_private_key needs the library cryptography: pip install 'protoc-gen-restate[cluster]'"
            raise RuntimeFault("RT0007", text) from None
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise RuntimeFault("RT0007", f"the private key {path} cannot be read: {error.strerror}") from None
        except (TypeError, ValueError):
            raise RuntimeFault("RT0007", f"the file {path} holds no private key in PEM without a password") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise RuntimeFault("RT0007", f"the private key {path} is none of Ed25519: openssl genpkey -algorithm ed25519 -out FILE")
        return RequestIdentity(key)

    def headers(self, path: str) -> Mapping[str, str]:
        """The headers of a request to a path, without what the endpoint is mounted on: `/discover`, `/invoke/SERVICE/HANDLER`."""
        now = int(self._clock())
        claims = {"aud": path, "exp": now + _VALID_S, "iat": now, "nbf": now - _VALID_S}
        signed = f"{self._head}.{_base64(msgspec.json.encode(claims))}"
        return {"x-restate-signature-scheme": "v1", "x-restate-jwt-v1": f"{signed}.{_base64(self._sign(signed.encode()))}"}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits
