"""A condition's tree, read from what the engine hands out: the checked expression of CEL as protocol buffer.

The numbers of the fields are those of cel/expr/checked.proto and cel/expr/syntax.proto (github.com/google/cel-spec).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Any": {"held": (2, "Checked")},
    "Checked": {"expr": (4, "Expr"), "info": (5, "Info")},
    "Info": {"positions": (4, "Position*")},
    "Position": {"key": (1, "int64"), "value": (2, "int32")},
    "Expr": {
        "id": (2, "int64"),
        "const": (3, "Constant"),
        "ident": (4, "Ident"),
        "select": (5, "Select"),
        "call": (6, "Call"),
        "items": (7, "Items"),
        "loop": (9, "Loop"),
    },
    "Constant": {
        "flag": (2, "bool"),
        "whole": (3, "int64"),
        "unsigned": (4, "uint64"),
        "number": (5, "double"),
        "text": (6, "string"),
    },
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "Expr"), "field": (2, "string")},
    "Call": {"target": (1, "Expr"), "function": (2, "string"), "args": (3, "Expr*")},
    "Items": {"elements": (1, "Expr*")},
    "Loop": {
        "variable": (1, "string"),
        "range": (2, "Expr"),
        "accu": (3, "string"),
        "init": (4, "Expr"),
        "condition": (5, "Expr"),
        "step": (6, "Expr"),
        "result": (7, "Expr"),
    },
}
_TYPES = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int64": _TYPES.TYPE_INT64,
    "uint64": _TYPES.TYPE_UINT64,
    "int32": _TYPES.TYPE_INT32,
    "bool": _TYPES.TYPE_BOOL,
    "string": _TYPES.TYPE_STRING,
    "double": _TYPES.TYPE_DOUBLE,
}
_OPTIONAL, _REPEATED = _TYPES.LABEL_OPTIONAL, _TYPES.LABEL_REPEATED


@dataclass(frozen=True, slots=True)
class Node:
    """One place of the tree; `kind` is const, name, call, items or loop."""

    kind: str
    at: int  # its offset in the source, -1 when the engine made it up
    name: str = ""  # of a fact or a function
    value: object = None  # of a constant
    parts: tuple["Node", ...] = ()

    def walk(self) -> Iterator["Node"]:
        """Itself and everything below it, as it is written."""
        ahead = [self]
        while ahead:
            node = ahead.pop()
            yield node
            ahead.extend(reversed(node.parts))

    @property
    def depth(self) -> int:
        deep, level = 0, [self]
        while level:
            deep, level = deep + 1, [part for node in level for part in node.parts]
        return deep


def tree(serialized: bytes) -> Node:
    """The tree of a compiled condition."""
    outer = _any()()
    outer.ParseFromString(serialized)
    checked = outer.held
    return _node(checked.expr, {entry.key: entry.value for entry in checked.info.positions})


@cache
def _any() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="fairturn_cel.proto", package="fairturn.cel", syntax="proto2")
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, (number, written) in fields.items():
            many, kind = written.endswith("*"), written.rstrip("*")
            field = made.field.add(name=name, number=number, label=_REPEATED if many else _OPTIONAL)
            if kind in _MESSAGES:
                field.type, field.type_name = field.TYPE_MESSAGE, f".fairturn.cel.{kind}"
            else:
                field.type = _SCALARS[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fairturn.cel.Any"))


def _node(expr: Any, positions: dict[int, int]) -> Node:
    at = positions.get(expr.id, -1)
    set_fields = expr.ListFields()
    made = _MADE.get(set_fields[-1][0].name) if set_fields else None
    # Of a kind of expression that this language does not have, nothing is known.
    return made(set_fields[-1][1], at, positions) if made else Node("call", at, "")


def _of_const(const: Any, at: int, _: dict[int, int]) -> Node:
    held = const.ListFields()
    return Node("const", at, value=held[0][1] if held else None)


def _of_select(select: Any, at: int, positions: dict[int, int]) -> Node:
    inner = _node(select.operand, positions)
    if inner.kind == "name":
        return Node("name", at, f"{inner.name}.{select.field}")
    return Node("call", at, f".{select.field}", parts=(inner,))


def _of_call(call: Any, at: int, positions: dict[int, int]) -> Node:
    target = [call.target] if call.HasField("target") else []
    return Node("call", at, call.function, parts=tuple([_node(one, positions) for one in [*target, *call.args]]))


def _of_loop(loop: Any, at: int, positions: dict[int, int]) -> Node:
    inner_parts = (loop.range, loop.init, loop.condition, loop.step, loop.result)
    return Node("loop", at, loop.variable, parts=tuple([_node(one, positions) for one in inner_parts]))


_MADE: Mapping[str, Callable[[Any, int, dict[int, int]], Node]] = {
    "const": _of_const,
    "ident": lambda ident, at, _: Node("name", at, ident.name),
    "select": _of_select,
    "call": _of_call,
    "items": lambda items, at, positions: Node(
        "items", at, parts=tuple([_node(one, positions) for one in items.elements])
    ),
    "loop": _of_loop,
}
