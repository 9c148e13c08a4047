"""What a condition needs at least, read from its syntax (routing/atoms.py).

Whatever is missing or goes wrong makes a part of a condition neither true nor false, so what makes a part true and what
makes it false are asked apart: `!(a || b)` needs `a` and `b` to be false, not just to be not true.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, reduce
from itertools import product
from typing import TypeGuard

from routing import computed, entries
from routing.atoms import (
    ALWAYS,
    FOLDED,
    MADE,
    Alternatives,
    Atom,
    Begins,
    Between,
    Computed,
    Conjunction,
    Contains,
    Ends,
    Holds,
    NoneOf,
    OneOf,
    constant,
    settled,
)
from routing.patterns import Needs
from routing.patterns import needs as needs_of_pattern
from routing.syntax import Node
from routing.written import each, written

#: More alternatives than this are not told apart.
MOST = 64
ANYTHING, NEVER = Alternatives(((),)), Alternatives(())
_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
_DENIED = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_", "_==_": "_!=_", "_!=_": "_==_"}
_SUMS = frozenset({"_+_", "_-_", "_*_", "_/_", "_%_", "-_"})


def alternatives(root: Node) -> Alternatives:
    """What must be so at least for this condition to hold."""
    return _so(root, True)


def _so(node: Node, wanted: bool) -> Alternatives:
    """What must be so at least for this part to come to `wanted`."""
    if node.kind == "const" and isinstance(node.value, bool):
        return ALWAYS if node.value is wanted else NEVER
    if node.kind == "name":
        return Alternatives(((OneOf(node.name, frozenset({wanted})),),))
    if node.kind == "call":
        if node.name in {"_&&_", "_||_"}:
            join = _both if (node.name == "_&&_") is wanted else _either
            return join(_so(node.parts[0], wanted), _so(node.parts[1], wanted))
        if node.name == "!_":
            return _so(node.parts[0], not wanted)
        if node.name == "_?_:_":
            asked, then, other = node.parts
            return _either(
                _both(_so(asked, True), _so(then, wanted)),
                _both(_so(asked, False), _so(other, wanted)),
            )
    found = _both(_leaf(node, wanted), _as_a_whole(node, wanted))
    first = entries.chosen_first(node)
    return found if first is None else _both(_so(first, wanted), found)


def _as_a_whole(node: Node, wanted: bool) -> Alternatives:
    """The part itself as one value: no use by itself, but many rules may share it."""
    asked = _value_of(node)
    said = asked is not None and (wanted or _atom_denied(*asked) is not None)
    text = None if said else written(node)
    return ANYTHING if text is None else _one(OneOf(MADE + text, frozenset({wanted})))


def _one(*atoms: Atom) -> Alternatives:
    return Alternatives((atoms,))


def _both(left: Alternatives, right: Alternatives) -> Alternatives:
    if len(left.of) * len(right.of) > MOST:
        return min(left, right, key=lambda side: (side.of == ((),), len(side.of)))
    together = dict.fromkeys(a + tuple(x for x in b if x not in a) for a, b in product(left.of, right.of))
    return Alternatives(tuple(needs for needs in together if _possible(needs)))


def _possible(needs: Conjunction) -> bool:
    """Whether no fact must be one number, and beyond it at the same time."""
    beyond = {(x.fact, x.low) for x in needs if isinstance(x, Between) and x.low_open}
    return not beyond or all((x.fact, value) not in beyond for x in needs if _is_one(x) for value in x.values)


def _is_one(need: Atom) -> TypeGuard[OneOf]:
    return isinstance(need, OneOf) and len(need.values) == 1


def _either(left: Alternatives, right: Alternatives) -> Alternatives:
    merged: dict[Conjunction, None] = dict.fromkeys(left.of)
    for conjunction in right.of:
        same = next((kept for kept in merged if _mergeable(kept, conjunction)), None)
        if same is None:
            merged[conjunction] = None
        else:
            del merged[same]
            merged[_merged(same[0], conjunction[0])] = None
    return ANYTHING if () in merged or len(merged) > MOST else Alternatives(tuple(merged))


_OF_VALUES = OneOf | Holds | Begins | Ends


def _mergeable(a: Conjunction, b: Conjunction) -> bool:
    return (
        len(a) == len(b) == 1 and type(a[0]) is type(b[0]) and a[0].fact == b[0].fact and isinstance(a[0], _OF_VALUES)
    )


def _merged(a: Atom, b: Atom) -> Conjunction:
    if isinstance(a, _OF_VALUES) and isinstance(b, _OF_VALUES):
        return (replace(a, values=a.values | b.values),)  # type: ignore[arg-type] # of the same type, as both are
    return (a,)


def _leaf(node: Node, wanted: bool) -> Alternatives:
    if node.kind == "loop":
        return _of_each(node, wanted)
    if node.kind != "call" or len(node.parts) != 2:
        return ANYTHING
    if kept := _some_kept(node, wanted):
        return _of_each(kept, True)
    if node.name == "matches":
        return _of_pattern(*node.parts) if wanted else ANYTHING
    atoms: list[Atom | None] = [_computed(node, wanted)] if node.name in _DENIED else []
    if node.name == "_==_" and wanted:
        atoms += _same_list(*node.parts)
    asked = _value_of(node)
    if asked is not None:
        name, fact, value = asked
        atoms.append(_atom(name, fact, value) if wanted else _atom_denied(name, fact, value))
    return _one(*(atom for atom in atoms if atom is not None))


def _same_list(left: Node, right: Node) -> Iterator[Atom]:
    """Every text of a list that is written down is in the list that equals it."""
    named, items = (left, right) if left.kind == "name" else (right, left)
    if named.kind == "name" and items.kind == "items":
        yield from (Holds(named.name, frozenset({part.value})) for part in items.parts if isinstance(part.value, str))


def _value_of(call: Node) -> tuple[str, str, object] | None:
    """What is asked of which fact, and the value it is compared with; None when that is not so plain."""
    if call.kind != "call" or len(call.parts) != 2:
        return None
    left, right = call.parts
    if call.name == "@in":
        return _of_list(left, right)
    name, value = call.name, settled(right)
    if value is None and name in _MIRRORED:
        left, name, value = right, _MIRRORED[name], settled(left)
    fact = None if value is None or settled(left) is not None else _fact(left)
    return None if fact is None or name not in _OF else (name, fact, value)


def _of_list(left: Node, right: Node) -> tuple[str, str, object] | None:
    if right.kind == "items":
        values = [settled(part) for part in right.parts]
        fact = _fact(left)
        return None if None in values or fact is None else ("in", fact, frozenset(values))
    value = constant(left)
    return ("holds", right.name, value) if isinstance(value, str) and right.kind == "name" else None


def _fact(node: Node) -> str | None:
    if node.kind == "name":
        return node.name
    text = written(node)
    return None if text is None else MADE + text


def _atom(name: str, fact: str, value: object) -> Atom | None:
    return _OF[name](fact, value)


def _atom_denied(name: str, fact: str, value: object) -> Atom | None:
    if name in _DENIED:
        return _OF[_DENIED[name]](fact, value)
    return NoneOf(fact, value) if name == "in" and isinstance(value, frozenset) else None


def _none_of(fact: str, value: object) -> Atom:
    if isinstance(value, bool):
        return OneOf(fact, frozenset({not value}))
    return NoneOf(fact, frozenset({value}))


def _text(make: Callable[[str, frozenset[str]], Atom]) -> Callable[[str, object], Atom | None]:
    return lambda fact, value: make(fact, frozenset({value})) if isinstance(value, str) else None


_OF: Mapping[str, Callable[[str, object], Atom | None]] = {
    "_==_": lambda fact, value: OneOf(fact, frozenset({value})),
    "_!=_": _none_of,
    "_<_": lambda fact, value: Between(fact, high=value, high_open=True),
    "_<=_": lambda fact, value: Between(fact, high=value),
    "_>_": lambda fact, value: Between(fact, low=value, low_open=True),
    "_>=_": lambda fact, value: Between(fact, low=value),
    "in": lambda fact, value: OneOf(fact, value) if isinstance(value, frozenset) else None,
    "holds": lambda fact, value: Holds(fact, frozenset({value})),
    "startsWith": _text(Begins),
    "endsWith": _text(Ends),
    "contains": lambda fact, value: Contains(fact, value) if isinstance(value, str) else None,
}


def _of_pattern(text: Node, pattern: Node) -> Alternatives:
    fact, value = _fact(text), constant(pattern)
    if fact is None or not isinstance(value, str):
        return ANYTHING
    found = [_conjunction(fact, one) for one in _patterns(value)]
    return reduce(_either, found) if found else ANYTHING


def _conjunction(fact: str, found: Needs) -> Alternatives:
    atoms: list[Atom] = []
    if found.most is not None or not (found.begins or found.ends or found.within):
        atoms.append(Between(f"{MADE}size({fact.removeprefix(MADE)})", found.least, found.most))
    fact = FOLDED + fact if found.folded else fact
    if found.begins:
        atoms.append(Begins(fact, found.begins))
    if found.ends:
        atoms.append(Ends(fact, found.ends))
    if found.within:
        atoms.append(Contains(fact, found.within))
    return _one(*atoms)


_patterns = lru_cache(maxsize=1024)(needs_of_pattern)


def _of_each(loop: Node, wanted: bool) -> Alternatives:
    """What is asked of one entry of a list, or of each."""
    asked = each(loop)
    if asked is None or (asked[0] == "exists_one" and not wanted):
        return ANYTHING
    macro, test = asked
    through, of_one = loop.parts[0], (macro != "all") is wanted
    if through.kind == "items":
        every = [_so(entries.replaced(test, loop.name, item), wanted) for item in through.parts]
        return reduce(_either if of_one else _both, every) if every else ANYTHING
    if through.kind != "name":
        return ANYTHING
    entry = _so(entries.replaced(test, loop.name, Node("name", -1, entries.ENTRY)), wanted)
    found = entries.of_one(entry, through.name)
    # Of a list without entries each one is so; of any other, one is.
    empty = _one(OneOf(f"{MADE}size({through.name})", frozenset({0})))
    return _both(found if of_one else _either(empty, found), _parts_of_each(loop, test, macro, wanted))


def _parts_of_each(loop: Node, test: Node, macro: str, wanted: bool) -> Alternatives:
    """What is asked together, each for itself as one value that many rules may share."""
    parts = list(entries.joined(test, "_&&_" if wanted else "_||_"))
    through, macro = written(loop.parts[0]), "all" if macro == "all" else "exists"
    texts = [written(part) for part in parts] if len(parts) > 1 else []
    return _one(
        *(OneOf(f"{MADE}{through}.{macro}({loop.name}, {text})", frozenset({wanted})) for text in texts if text)
    )


def _some_kept(node: Node, wanted: bool) -> Node | None:
    """The loop of `list.filter(...).size() > 0` and its like, where one entry at least must be kept."""
    left, right = node.parts
    most, name = settled(right), node.name
    if name not in _DENIED or not isinstance(most, int) or left.kind != "call" or left.name != "size":
        return None
    loop, asked = left.parts[0], each(left.parts[0])
    without = {"_<_": most > 0, "_<=_": most >= 0, "_>_": most < 0, "_>=_": most <= 0, "_==_": most == 0}
    holds = without.get(name, most != 0)
    return loop if asked is not None and asked[0] == "filter" and holds is not wanted else None


def _computed(node: Node, wanted: bool) -> Atom | None:
    """A comparison of sums, when it is one of numbers."""
    if not any(part.kind == "call" and part.name in _SUMS and constant(part) is None for part in node.parts):
        return None
    numbers: list[float] = []
    shape = _shape(node, numbers)
    return None if shape is None else Computed(f"{wanted} {shape}", tuple(numbers), node, wanted)


def _shape(node: Node, numbers: list[float]) -> str | None:
    """The expression with its numbers left out, which go into the list; None when it is none of numbers."""
    if node.kind == "name":
        return node.name
    if node.kind == "const":
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            return None
        if isinstance(node.value, int) and abs(node.value) > 2**31:
            return None
        numbers.append(float(node.value))
        return "0.0" if isinstance(node.value, float) else "0"
    if node.kind == "call" and (name := computed.named(node)):
        return name
    if node.kind != "call" or node.name not in _SUMS | _DENIED.keys():
        return None
    parts = [_shape(part, numbers) for part in node.parts]
    return f"({node.name} {_words(parts)})" if None not in parts else None


def _words(parts: Iterable[str | None]) -> str:
    return " ".join(part or "" for part in parts)
