"""One protoc request to its response."""

from __future__ import annotations

import itertools

from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from google.protobuf.message import DecodeError

from . import __version__
from .build import build
from .load import LoadError, load
from .model import Finding
from .options import OptionError, parse

__all__ = ["respond"]


def respond(data: bytes) -> bytes:
    """Answers a serialized CodeGeneratorRequest with a serialized CodeGeneratorResponse.

    What is wrong with the contracts is in the response's `error`, a line for each finding.
    """
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
        | plugin_pb2.CodeGeneratorResponse.FEATURE_SUPPORTS_EDITIONS,
        minimum_edition=descriptor_pb2.EDITION_PROTO2,
        maximum_edition=descriptor_pb2.EDITION_2024,
    )
    try:
        _generate(plugin_pb2.CodeGeneratorRequest.FromString(data), response)
    except (DecodeError, RequestError):
        response.error = "the input is not a whole CodeGeneratorRequest, which protoc sends to its plugins [RST001]"
    except UnicodeDecodeError:  # only protobuf's pure Python implementation minds
        response.error = "a contract is not encoded in UTF-8 [RST007]"
    except OptionError as error:
        response.error = f"--restate_opt: {error} [RST004]"
    except LoadError as error:
        response.error = _report(error.findings)
    except Exception as error:  # protoc shows a plugin's error, and a traceback would tell its user nothing
        response.error = f"a fault in protoc-gen-restate {__version__}, please report it: {type(error).__name__}: {error} [RST005]"
    return response.SerializeToString()


class RequestError(Exception):
    """The request can be read, but it is not one that protoc sends."""


def _generate(request: plugin_pb2.CodeGeneratorRequest, response: plugin_pb2.CodeGeneratorResponse) -> None:
    if not request.file_to_generate or not {proto.name for proto in request.proto_file}.issuperset(request.file_to_generate):
        raise RequestError
    options = parse(request.parameter)
    contract = build(load(request.proto_file), request.file_to_generate)
    if not any(file.services for file in contract.files):
        return
    from .hooks import manager

    hooks = manager().hook
    findings: list[Finding] = list(itertools.chain.from_iterable(hooks.check(contract=contract)))
    if findings:
        response.error = _report(findings)
        return
    from .render import Renderer

    flavours = {flavour.name: flavour for flavour in itertools.chain.from_iterable(hooks.message_flavours())}
    renderer = Renderer(options, flavours["protobuf"])
    for file in contract.files:
        if file.services:
            name, content = renderer.module(file)
            response.file.add(name=name, content=content)


def _report(findings: list[Finding]) -> str:
    return "\n".join(
        str(finding) for finding in sorted(set(findings), key=lambda finding: (finding.location, finding.code, finding.message))
    )
