"""`identity`: what endpoints are given to know a runtime by."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["identity"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def identity(file: Path) -> None:
    """Prints the public key of FILE, the private key that a runtime has as --request-identity-private-key.

    Endpoints get it as their SDK's option identity_keys, and take no requests but those that are signed with the private key. Make one with
    `openssl genpkey -algorithm ed25519 -out FILE`.
    """
    from ..engine.remote.identity import RequestIdentity

    click.echo(RequestIdentity.load(file).public_key)
