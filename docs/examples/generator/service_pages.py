"""A plugin of the generator: a page of Markdown for each service, `shop/v1/Stock.md`.

--restate_opt=plugins=service_pages
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protoc_gen_restate.hooks import OutputFile, Render, hookimpl
from protoc_gen_restate.model import Contract, Finding, Level


@hookimpl
def template_folders() -> Sequence[Path]:
    return [Path(__file__).parent / "templates"]


@hookimpl
def files(contract: Contract, render: Render) -> Sequence[OutputFile]:
    return [
        OutputFile(f"{service.full_name.replace('.', '/')}.md", render("service.md.j2", service=service))
        for file in contract.files
        for service in file.services
    ]


@hookimpl
def check(contract: Contract) -> Sequence[Finding]:
    """A page without a text would be of no use: a rule of this plugin's own."""
    services = [service for file in contract.files for service in file.services]
    return [
        Finding(service.location, "PAGES001", f"service {service.full_name} has no comment", Level.WARNING)
        for service in services
        if not service.comments
    ]
