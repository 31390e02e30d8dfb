"""Our templates as one Python function, which starts and runs faster than they do in Jinja; and the schema of what protoc sends.

`python -m protoc_gen_restate.precompile` writes both anew; until then, a change of a template has no effect. As much of Jinja is known here
as our templates use. Names mean what they mean there: one that is set in a loop or in an included template ends with it, and may not hide
another. mypy checks what comes out, and so the templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jinja2
from google.protobuf import descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from jinja2 import nodes

from .templating import FILTERS, FUNCTIONS, environment_of

__all__ = ["COMPILED", "CompileError", "compiled", "schema", "write"]

COMPILED = Path(__file__).parent / "compiled" / "module.py"
_SCHEMA = COMPILED.with_name("schema.py")
_ENTRY = "module.py.j2"
_OPERATORS = {"Add": "+", "And": "and", "Or": "or", "eq": "==", "ne": "!=", "in": "in", "notin": "not in"}


class CompileError(Exception):
    """A template uses what is not known here."""


def compiled(environment: jinja2.Environment) -> str:
    """The module's text."""
    writer = _Writer(environment)
    writer.include(_ENTRY)
    return "\n".join([*_head(), *writer.lines, '    return "".join(out)', ""])


def schema() -> str:
    """A module with the files that describe what plugins get and give, serialized, of the installed protobuf."""
    lines = [_TITLE, "", "# Of google.protobuf: descriptor.proto and compiler/plugin.proto."]
    for name, file in (("DESCRIPTOR", descriptor_pb2.DESCRIPTOR), ("PLUGIN", plugin_pb2.DESCRIPTOR)):
        content = file.serialized_pb
        pieces = [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)]
        lines += [f"{name} = (", *(f"    {piece!r}" for piece in pieces), ")"]
    return "\n".join([*lines, ""])


_PIECE = 40


def write() -> None:
    """Writes the modules anew."""
    COMPILED.write_text(compiled(environment_of()), "utf-8")
    _SCHEMA.write_text(schema(), "utf-8")


_TITLE = '"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""'


def _head() -> Iterator[str]:
    yield _TITLE
    yield ""
    yield "from __future__ import annotations"
    yield ""
    helpers = {**FILTERS, **FUNCTIONS}
    for module in sorted({function.__module__ for function in helpers.values()}):
        yield f"from {module} import {', '.join(sorted(name for name, function in helpers.items() if function.__module__ == module))}"
    yield f"from {__package__}.pages import ModulePage"
    yield ""
    yield ""
    yield "def module(page: ModulePage) -> str:"
    yield '    """The text of a module."""'
    yield "    out: list[str] = []"


class _Writer:
    """Writes the statements of a template, and of those that it includes."""

    def __init__(self, environment: jinja2.Environment) -> None:
        self.lines: list[str] = []
        self._environment = environment
        self._depth = 1
        # Expressions whose values are to be put out.
        self._pieces: list[str] = []
        self._scopes: list[set[str]] = [{"page"}]
        # The variables with the numbers of the loops around, and those of them that are used.
        self._loops: list[str] = []
        self._counted: set[str] = set()

    def include(self, name: str) -> None:
        """Writes that template."""
        loader = self._environment.loader
        assert loader is not None
        source, _, _ = loader.get_source(self._environment, name)
        with self._scope():
            self._block(self._environment.parse(source, name).body)

    def _block(self, statements: Iterable[nodes.Node]) -> None:
        for statement in statements:
            match statement:
                case nodes.Output():
                    self._pieces += [self._expression(node) for node in statement.nodes]
                case nodes.Assign(target=nodes.Name(name=name)):
                    value = self._expression(statement.node)
                    self._line(f"{self._named(name)} = {value}")
                case nodes.If():
                    self._if(statement)
                case nodes.For():
                    self._for(statement)
                case nodes.Include(template=nodes.Const(value=str() as name)):
                    self.include(name)
                case _:
                    raise _unknown(statement)
        self._flush()

    def _if(self, statement: nodes.If) -> None:
        for word, branch in (("if", statement), *(("elif", branch) for branch in statement.elif_)):
            self._line(f"{word} {self._expression(branch.test)}:")
            self._indented(branch.body)
        if statement.else_:
            self._line("else:")
            self._indented(statement.else_)

    def _for(self, statement: nodes.For) -> None:
        if statement.else_ or statement.recursive:
            raise _unknown(statement)
        items = self._expression(statement.iter)
        self._flush()
        start = len(self.lines)
        index = f"index_{len(self._loops)}"
        self._loops.append(index)
        with self._scope():
            target = self._target(statement.target)
            if statement.test is None:
                self._indented(statement.body)
            else:
                with self._deeper():
                    self._line(f"if {self._expression(statement.test)}:")
                    self._indented(statement.body)
        self._loops.pop()
        counted = index in self._counted
        self._counted.discard(index)
        if counted and statement.test is not None:
            raise _unknown(statement)
        head = f"for {index}, {target} in enumerate({items}):" if counted else f"for {target} in {items}:"
        self.lines.insert(start, "    " * self._depth + head)

    def _target(self, target: nodes.Node) -> str:
        match target:
            case nodes.Name(name=name):
                return self._named(name)
            case nodes.Tuple(items=items):
                return f"({', '.join(self._target(item) for item in items)})"
        raise _unknown(target)

    def _named(self, name: str) -> str:
        """A name that gets a value here."""
        if any(name in scope for scope in self._scopes[:-1]) or name in FUNCTIONS:
            raise CompileError(f"'{name}' would hide another")
        self._scopes[-1].add(name)
        return name

    def _expression(self, node: nodes.Node) -> str:
        match node:
            case nodes.TemplateData(data=text) | nodes.Const(value=text):
                return repr(text)
            case nodes.Name(name=name):
                if name not in FUNCTIONS and not any(name in scope for scope in self._scopes):
                    raise CompileError(f"'{name}' has no value")
                return name
            case nodes.Getattr(node=nodes.Name(name="loop"), attr="index0" | "first" as attribute):
                index = self._loops[-1]
                self._counted.add(index)
                return index if attribute == "index0" else f"({index} == 0)"
            case nodes.Getattr(node=owner, attr=attribute):
                return f"{self._expression(owner)}.{attribute}"
            case nodes.Concat(nodes=operands):
                return f"({' + '.join(map(self._text, operands))})"
            case nodes.Add(left=left, right=right) | nodes.And(left=left, right=right) | nodes.Or(left=left, right=right):
                return f"({self._expression(left)} {_OPERATORS[type(node).__name__]} {self._expression(right)})"
            case nodes.Not(node=operand):
                return f"(not {self._expression(operand)})"
            case nodes.CondExpr(test=test, expr1=value, expr2=other):
                otherwise = repr("") if other is None else self._expression(other)
                return f"({self._expression(value)} if {self._expression(test)} else {otherwise})"
            case nodes.Compare(expr=operand, ops=[comparison]) if comparison.op in _OPERATORS:
                return f"({self._expression(operand)} {_OPERATORS[comparison.op]} {self._expression(comparison.expr)})"
            case nodes.Test(node=operand, name="none"):
                return f"({self._expression(operand)} is None)"
            case nodes.List(items=items):
                return f"[{self._listed(items)}]"
            case nodes.Tuple(items=items):
                return f"({self._listed(items)},)"
            case nodes.Call(node=nodes.Name(name=name), args=arguments, kwargs=keywords) if name in FUNCTIONS:
                given = [*map(self._expression, arguments), *(f"{item.key}={self._expression(item.value)}" for item in keywords)]
                return f"{name}({', '.join(given)})"
            case nodes.Filter(name=name, node=nodes.Node() as operand, args=arguments) if name in FILTERS:
                return f"{name}({self._listed([operand, *arguments])})"
            case nodes.Filter(name="lower", node=nodes.Node() as operand):
                return f"{self._expression(operand)}.lower()"
        raise _unknown(node)

    def _text(self, node: nodes.Node) -> str:
        """An expression as a part of a text; all but the numbers of loops are texts."""
        value = self._expression(node)
        return f"str({value})" if value in self._loops else value

    def _listed(self, items: Sequence[nodes.Node]) -> str:
        return ", ".join(map(self._expression, items))

    def _line(self, line: str) -> None:
        self._flush()
        self.lines.append("    " * self._depth + line)

    def _flush(self) -> None:
        """Puts out what has piled up, in one statement."""
        pieces, self._pieces = self._pieces, []
        if pieces:
            self._line(f"out += ({', '.join(pieces)},)" if len(pieces) > 1 else f"out.append({pieces[0]})")

    def _indented(self, statements: Iterable[nodes.Node]) -> None:
        with self._deeper():
            before = len(self.lines)
            self._block(statements)
            if len(self.lines) == before:
                self._line("pass")

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        yield
        self._depth -= 1

    @contextmanager
    def _scope(self) -> Iterator[None]:
        self._scopes.append(set())
        yield
        self._scopes.pop()


def _unknown(node: nodes.Node) -> CompileError:
    return CompileError(f"line {node.lineno}: {type(node).__name__} is not known here")


if __name__ == "__main__":
    write()
