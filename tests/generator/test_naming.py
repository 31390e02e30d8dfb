"""Names in generated code."""

from __future__ import annotations

import itertools
import keyword

import pytest

from protoc_gen_restate import naming


@pytest.mark.parametrize(
    ("rpc", "python"),
    [
        ("MarkAsSold", "mark_as_sold"),
        ("GetAWSUrl", "get_aws_url"),
        ("ManageAWSResourceURN", "manage_aws_resource_urn"),
        ("GetURL2", "get_url2"),
        ("get", "get"),
        ("class", "class_"),
        ("Import", "import_"),
        ("class_", "class__"),
        ("__init__", "rpc__init__"),
        ("_hidden", "rpc_hidden"),
    ],
)
def test_rpcs_are_in_snake_case(rpc: str, python: str) -> None:
    assert naming.method_name(rpc) == python


def test_escaping_keeps_different_names_apart() -> None:
    words = [*keyword.kwlist, "get", "match", "self"]
    names = [f"{word}{'_' * count}" for word, count in itertools.product(map(str.lower, words), range(4))]
    escaped = {naming.escape(name) for name in names}
    assert len(escaped) == len(set(names))
    assert not any(keyword.iskeyword(name) for name in escaped)


@pytest.mark.parametrize(
    ("service", "constant"),
    [
        ("TicketService", "TICKET_SERVICE"),
        ("HTTPGateway2Go", "HTTP_GATEWAY2_GO"),
        ("AWS", "AWS"),
        ("__Hidden", "SERVICE__HIDDEN"),
        ("TypeChecking", "TYPE_CHECKING_"),
        ("Type_Checking_", "TYPE_CHECKING__"),
    ],
)
def test_constants_are_in_upper_snake_case(service: str, constant: str) -> None:
    assert naming.constant_name(service) == constant


@pytest.mark.parametrize(
    ("proto", "module"),
    [
        ("tour/v1/tour.proto", "tour.v1.tour_pb2"),
        ("a-b/c.d/e-f.service.proto", "a_b.c.d.e_f.service_pb2"),
        ("bare.proto", "bare_pb2"),
        ("old.protodevel", "old_pb2"),
    ],
)
def test_modules_are_where_protoc_puts_them(proto: str, module: str) -> None:
    assert naming.module_name(proto, "_pb2") == module


@pytest.mark.parametrize(
    ("name", "plain"), [("shop", True), ("größe", True), ("class", False), ("2d", False), ("__a", False), ("ﬁ", False)]
)
def test_names_that_an_import_statement_takes(name: str, plain: bool) -> None:
    assert naming.is_plain(name) is plain
