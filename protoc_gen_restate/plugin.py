"""One protoc request to its response."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from . import __version__
from .build import build
from .faults import ExtensionFault
from .load import LoadError, load
from .messages import Flavour, FlavourError
from .model import Contract, Finding, Level
from .options import ImportStyle, LintLevel, OptionError, Options, SyncClients, parse
from .protobuf import CodeGeneratorResponse
from .request import Request, read

if TYPE_CHECKING:
    from .extensions import Extensions

__all__ = ["respond"]

# Of descriptor.proto's `Edition`.
_EDITION_PROTO2, _EDITION_2024 = 998, 1001


def respond(data: bytes) -> bytes:
    """Answers a serialized CodeGeneratorRequest with a serialized CodeGeneratorResponse.

    What is wrong with the contracts is in the response's `error`, a line for each finding; warnings go to stderr.
    """
    response = CodeGeneratorResponse(
        supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL | CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=_EDITION_PROTO2,
        maximum_edition=_EDITION_2024,
    )
    try:
        _generate(read(data), response)
    except (DecodeError, RequestError):
        response.error = "the input is not a whole CodeGeneratorRequest, which protoc sends to its plugins [RST001]"
    except UnicodeDecodeError:  # in comments only protobuf's pure Python implementation minds
        response.error = "a contract, or the name of its file, is not encoded in UTF-8 [RST007]"
    except OptionError as error:
        response.error = f"--restate_opt: {error} [RST004]"
    except FlavourError as error:
        response.error = f"--restate_opt: {error} [RST008]"
    except ExtensionFault as error:
        response.error = f"{error} [{error.code}]"
    except LoadError as error:
        response.error = _report(error.findings)
    except Exception as error:  # protoc shows a plugin's error, and a traceback would tell its user nothing
        response.error = f"a fault in protoc-gen-restate {__version__}, please report it: {type(error).__name__}: {error} [RST005]"
    return response.SerializeToString()


class RequestError(Exception):
    """The request can be read, but it is not one that protoc sends."""


def _generate(request: Request, response: CodeGeneratorResponse) -> None:
    if not request.wanted or not {file.name for file in request.files}.issuperset(request.wanted):
        raise RequestError
    options = parse(request.parameter)
    loaded = load(request.files)
    default_kind = None if options.require_service_type else options.default_service_type
    contract = build(loaded, request.wanted, default_kind, options.sync is SyncClients.ON)
    if not any(file.services for file in contract.files):
        return
    from .extensions import Extensions

    extensions = Extensions(options)
    copies = contract.copies if extensions.flavour.carries_descriptors else ()  # other libraries share no descriptors with protobuf
    contract = extensions.change(contract._replace(rooted=_rooted(contract, options, extensions.flavour), copies=copies))
    errors = _lint(extensions, contract, options)
    if errors:
        response.error = _report(errors)
        return
    flavour = extensions.flavour
    if flavour.in_package and options.imports is ImportStyle.ABSOLUTE and not options.package_prefix:
        raise OptionError(f"messages={flavour.name} needs 'package_prefix' with 'imports=absolute': its own code has to be in a package")
    if flavour.in_package and options.init_files:
        raise OptionError(f"messages={flavour.name} writes __init__.py itself: leave 'init_files' out")
    from .carry import carried
    from .render import Renderer

    renderer = Renderer(options, flavour, lambda name: carried(loaded, name), extensions.template_folders)
    for file in contract.files:
        if file.services:
            name, content = renderer.module(file)
            response.file.add(name=name, content=content)
    if options.init_files:
        _add_init_files(response)
    for item in extensions.files(contract, renderer.render, {item.name for item in response.file}):
        response.file.add(name=item.name, content=item.content, insertion_point=item.insertion_point)


def _rooted(contract: Contract, options: Options, flavour: Flavour) -> frozenset[str]:
    if flavour.in_package or options.package_prefix or options.imports is ImportStyle.RELATIVE:
        return frozenset()
    services = [(file, service) for file in contract.files for service in file.services]
    messages = {used.file for _, service in services for used in service.messages} if flavour.carries_descriptors else set()
    return frozenset({file.name for file, _ in services} | messages.difference(options.modules))


def _lint(extensions: Extensions, contract: Contract, options: Options) -> list[Finding]:
    """The findings that are errors; warnings are printed."""
    findings = extensions.check(contract)
    lenient = options.lint is not LintLevel.ERROR
    errors = [finding for finding in findings if finding.level is Level.FATAL or (finding.level is Level.ERROR and not lenient)]
    warnings = [finding for finding in findings if finding not in errors] if options.lint is not LintLevel.OFF else []
    if warnings:
        print("\n".join(f"warning: {line}" for line in _report(warnings).splitlines()), file=sys.stderr)
    return errors


def _add_init_files(response: CodeGeneratorResponse) -> None:
    folders = {"/".join(parts[:depth]) for item in response.file for parts in [item.name.split("/")] for depth in range(1, len(parts))}
    for folder in sorted(folders):
        shared = folder.split("/")[0] in _SHARED_PACKAGES
        response.file.add(name=f"{folder}/__init__.py", content=_SHARED_INIT if shared else "")


# Packages that installed distributions have modules in, protobuf and this one: a plain `__init__.py` would hide these.
_SHARED_PACKAGES = frozenset({"dev", "google"})
_SHARED_INIT = """\
# Generated by protoc-gen-restate. Do not edit.
from pkgutil import extend_path

# Installed packages have modules in this one, too.
__path__ = extend_path(__path__, __name__)
"""


def _report(findings: list[Finding]) -> str:
    return "\n".join(
        str(finding) for finding in sorted(set(findings), key=lambda finding: (finding.location, finding.code, finding.message))
    )
