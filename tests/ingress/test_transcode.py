"""JSON that is no message: the message names the field's path and what would be right."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2, duration_pb2, struct_pb2, timestamp_pb2, type_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, UninterpretedOption
from google.protobuf.message import Message

from restate_runtime import Code, TerminalError
from restate_runtime.transcode import from_json, to_json

pytestmark = pytest.mark.rule("R32")

WRONG = [
    (
        FileDescriptorProto,
        '{"messageType": [{}, {"field": [{"number": "x"}]}]}',
        'messageType[1].field[0].number: expects a whole number, not "x"',
    ),
    (FileDescriptorProto, '{"messageType": {}}', "messageType: expects a list, not an object"),
    (FileDescriptorProto, '{"messageType": [null]}', "messageType[0]: null is no element of a list"),
    (FileDescriptorProto, '{"dependency": ["a", 2]}', "dependency[1]: expects a string, not 2"),
    (FileDescriptorProto, '{"options": {"javaPackage": true}}', "options.javaPackage: expects a string, not true"),
    (
        FileDescriptorProto,
        '{"options": {"optimizeFor": "FAST"}}',
        'options.optimizeFor: "FAST" is no google.protobuf.FileOptions.OptimizeMode',
    ),
    (FileDescriptorProto, '{"options": {"optimizeFor": "SPED"}}', "did you mean 'SPEED'?"),
    (FileDescriptorProto, '{"options": {"optimizeFor": 99}}', "options.optimizeFor: 99 is no google.protobuf.FileOptions.OptimizeMode"),
    (FileDescriptorProto, '{"options": {"javaMultipleFiles": 1}}', "options.javaMultipleFiles: expects true or false, not 1"),
    (FileDescriptorProto, '{"options": {"javaMultipleFile": true}}', "did you mean 'java_multiple_files'?"),
    (
        FileDescriptorProto,
        '{"publicDependency": [2147483648]}',
        "publicDependency[0]: 2147483648 is out of range (-2147483648 to 2147483647)",
    ),
    (FileDescriptorProto, '{"publicDependency": [1.5]}', "publicDependency[0]: expects a whole number, not 1.5"),
    (FileDescriptorProto, '{"name": "a", "name": "b"}', "name: given twice"),
    (FileDescriptorProto, '{"messageType": [{"name": "a", "name": "b"}]}', "messageType[0].name: given twice"),
    (FileDescriptorProto, '{"name": "\\ud800"}', "name: the string holds half of a surrogate pair"),
    (FileDescriptorProto, "[]", "the body: expects an object (google.protobuf.FileDescriptorProto), not a list"),
    (FileDescriptorProto, "null", "the body: expects an object"),
    (FileDescriptorProto, "", "the body is no JSON: Expecting value at line 1, column 1"),
    (FileDescriptorProto, '{"name": }', "the body is no JSON: Expecting value at line 1, column 10"),
    (FieldDescriptorProto, '{"type": "TYPE_STRIN"}', "did you mean 'TYPE_STRING'?"),
    (wrappers_pb2.DoubleValue, "NaN", 'the body: nan is no JSON: write it as a string, "NaN"'),
    (wrappers_pb2.FloatValue, "1e39", "the body: 1e+39 is out of range"),
    (wrappers_pb2.Int64Value, '"9223372036854775808"', "is out of range"),
    (wrappers_pb2.UInt32Value, "-1", "the body: -1 is out of range (0 to 4294967295)"),
    (wrappers_pb2.BytesValue, '"%"', "the body: expects base64"),
    (wrappers_pb2.BoolValue, '"true"', 'the body: expects true or false, not "true"'),
    (timestamp_pb2.Timestamp, '"yesterday"', 'the body: "yesterday" is no google.protobuf.Timestamp: write it as "2024-05-01T12:00:00Z"'),
    (struct_pb2.Struct, "[]", "the body: expects an object, not a list"),
    (struct_pb2.Struct, '{"a": [1, NaN]}', '["a"][1]: nan is no JSON'),
    (struct_pb2.Struct, '{"a": {"\\ud800": 1}}', '["a"]["\\ud800"]: the string holds half of a surrogate pair'),
    (struct_pb2.Struct, '{"a\\nb": [1, NaN]}', '["a\\nb"][1]: nan is no JSON'),
    (type_pb2.Type, '{"sourceContext": {"fileName": []}}', "sourceContext.fileName: expects a string, not a list"),
    (FileDescriptorProto, '{"\\ud800": 1}', '"\\ud800": the string holds half of a surrogate pair'),
    (FieldDescriptorProto, '{"type": "\\ud800"}', "type: the string holds half of a surrogate pair"),
    (FieldDescriptorProto, '{"type": "1_0"}', 'type: "1_0" is no google.protobuf.FieldDescriptorProto.Type'),
    (timestamp_pb2.Timestamp, '"\\ud800"', "the body: the string holds half of a surrogate pair"),
    (wrappers_pb2.Int32Value, '"1_000"', 'the body: expects a whole number, not "1_000"'),
    (wrappers_pb2.Int32Value, '"１２"', 'the body: expects a whole number, not "１２"'),
    (wrappers_pb2.DoubleValue, '" 1"', 'the body: expects a number, not " 1"'),
    (any_pb2.Any, "[]", "the body: expects an object, not a list"),
    (any_pb2.Any, '{"value": 1}', 'the body: expects "@type", the URL of the message\'s type'),
    (any_pb2.Any, '{"@type": 1}', 'the body: expects "@type", the URL of the message\'s type'),
    (any_pb2.Any, '{"@type": "x/\\ud800"}', "@type: the string holds half of a surrogate pair"),
    (any_pb2.Any, '{"@type": "x/no.Such"}', '@type: "x/no.Such" names no message that is known here'),
    (any_pb2.Any, '{"@type": "x/google.protobuf.Type", "@type": "x"}', "@type: given twice"),
    (any_pb2.Any, '{"@type": "x/google.protobuf.Type", "fields": [{"kind": "X"}]}', 'fields[0].kind: "X" is no google.protobuf.Field.Kind'),
    (any_pb2.Any, '{"@type": "x/google.protobuf.Int32Value", "value": "y"}', 'value: expects a whole number, not "y"'),
    (any_pb2.Any, '{"@type": "x/google.protobuf.Int32Value"}', 'the body: expects "value", the JSON of the google.protobuf.Int32Value'),
    (
        UninterpretedOption,
        '{"name": [{"namePart": "a"}, {}]}',
        "name[0].is_extension, name[1].name_part, name[1].is_extension: required, and not given",
    ),
    (struct_pb2.Value, "[" * 100_000, "the body is nested too deeply"),
]


@pytest.mark.parametrize(("type_", "body", "message"), WRONG, ids=range(len(WRONG)))
def test_the_message_names_the_place(type_: type[Message], body: str, message: str) -> None:
    with pytest.raises(TerminalError) as caught:
        from_json(body.encode(), type_)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert message in caught.value.message


RIGHT: list[tuple[type[Message], str]] = [
    (FileDescriptorProto, '{"message_type": [{"name": "a"}], "syntax": null}'),
    (FileDescriptorProto, '{"options": {"optimizeFor": 1}}'),
    (wrappers_pb2.DoubleValue, '"NaN"'),
    (wrappers_pb2.Int64Value, "12.0"),
    (wrappers_pb2.StringValue, '"ä€𝄞"'),
    (struct_pb2.Value, '{"a": [1, null, {"b": true}]}'),
    (any_pb2.Any, "{}"),
    (any_pb2.Any, '{"@type": "x/google.protobuf.Type", "name": "a", "fields": [{"kind": "TYPE_BOOL"}]}'),
    (any_pb2.Any, '{"@type": "x/google.protobuf.Any", "value": {"@type": "x/google.protobuf.Int32Value", "value": 5}}'),
    (UninterpretedOption, '{"name": [{"namePart": "a", "isExtension": false}]}'),
]


@pytest.mark.parametrize(("type_", "body"), RIGHT)
def test_what_protobufs_json_allows_is_taken(type_: type[Message], body: str) -> None:
    message = from_json(body.encode(), type_)
    assert str(from_json(to_json(message), type_)) == str(message)


@pytest.mark.parametrize(
    "message",
    [
        struct_pb2.Value(number_value=float("nan")),
        timestamp_pb2.Timestamp(seconds=10**15),
        duration_pb2.Duration(seconds=1, nanos=-1),
        any_pb2.Any(type_url="x/no.Such", value=b"x"),
        any_pb2.Any(type_url="x/google.protobuf.Type", value=b"\xff"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_json_has_no_words_for(message: Message) -> None:
    with pytest.raises(TerminalError, match="cannot be written as JSON: ") as caught:
        to_json(message)
    assert caught.value.code is Code.INTERNAL
