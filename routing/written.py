"""A part of a condition written as CEL again, in one way only: what is written alike is alike."""

import math

from routing.syntax import Node

_BETWEEN = {
    "_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%", "_==_": "==", "_!=_": "!=", "_<_": "<", "_<=_": "<=",
    "_>_": ">", "_>=_": ">=", "_&&_": "&&", "_||_": "||", "@in": "in",
}  # fmt: skip
_AFTER = frozenset({"startsWith", "endsWith", "contains", "matches"})  # and getHours and its like


def written(node: Node) -> str | None:
    """The expression; None of what cannot be written again here."""
    if node.kind == "const":
        return _constant(node.value)
    if node.kind == "name":
        return node.name
    if node.kind == "loop":
        return _loop(node)
    parts = [written(part) for part in node.parts]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return f"[{', '.join(known)}]" if node.kind == "items" else _call(node.name, known)


def _call(name: str, parts: list[str]) -> str | None:
    if name in _BETWEEN and len(parts) == 2:
        return f"({parts[0]} {_BETWEEN[name]} {parts[1]})"
    if name in {"!_", "-_"}:
        return f"({name[0]}{parts[0]})"
    if name == "_?_:_":
        return f"({parts[0]} ? {parts[1]} : {parts[2]})"
    if name == "_[_]":
        return f"{parts[0]}[{parts[1]}]"
    if name in _AFTER or name.startswith("get"):
        return f"{parts[0]}.{name}({', '.join(parts[1:])})"
    return f"{name}({', '.join(parts)})" if name.isidentifier() else None


def _constant(value: object) -> str | None:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"({value})" if value < 0 else str(value)
        case float() if math.isfinite(value):
            return f"({value!r})" if value < 0 else repr(value)
        case str():
            letters = (x if x.isascii() and (x.isalnum() or x in " _-") else f"\\U{ord(x):08x}" for x in value)
            return '"' + "".join(letters) + '"'
        case _:
            return None


def _loop(node: Node) -> str | None:
    asked = each(node)
    if asked is None:
        return None
    macro, test = asked
    if macro == "filter":
        return None
    through, inner = written(node.parts[0]), written(test)
    return None if through is None or inner is None else f"{through}.{macro}({node.name}, {inner})"


def each(node: Node) -> tuple[str, Node] | None:
    """Which of exists, all, exists_one and filter a loop is, and what it asks of each one; None when it is another."""
    if node.kind != "loop":
        return None
    _, begun, _, step, result = node.parts
    if step.name == "_?_:_" and len(step.parts) == 3:
        return _counted(begun, step, result)
    macro = {("_||_", False): "exists", ("_&&_", True): "all"}.get((step.name, begun.value is True))
    if macro is None or len(step.parts) != 2 or result.kind != "name" or step.parts[0].name != result.name:
        return None
    return macro, step.parts[1]


def _counted(begun: Node, step: Node, result: Node) -> tuple[str, Node] | None:
    asked, more, same = step.parts
    if more.name != "_+_" or same.kind != "name" or more.parts[0].name != same.name:
        return None
    if begun.kind == "const" and result.name == "_==_" and more.parts[1].value == result.parts[1].value == 1:
        return "exists_one", asked
    kept = more.parts[1]
    as_it_is = kept.kind == "items" and len(kept.parts) == 1 and kept.parts[0].kind == "name"
    return ("filter", asked) if begun.kind == "items" and result.kind == "name" and as_it_is else None
