"""What is asked of the entries of a list, or of one of two values, as what the whole needs (routing/needs.py)."""

from collections.abc import Iterator
from dataclasses import replace

from routing.atoms import FOLDED, Alternatives, Atom, Begins, Contains, Ends, Holds, OneOf
from routing.syntax import Node

#: How an entry is called while it is asked; no fact has such a name, and no text that is written again.
ENTRY = "@entry"
#: Of more choices than this in one comparison nothing is told apart: each doubles what there is.
MOST_CHOICES = 4


def replaced(node: Node, name: str, by: Node) -> Node:
    """The expression with another in the place of a name."""
    if node.kind == "name":
        return by if node.name == name else node
    return replace(node, parts=tuple(replaced(part, name, by) for part in node.parts)) if node.parts else node


def of_one(entry: Alternatives, through: str) -> Alternatives:
    """What a list needs so that one of its entries is as told of `ENTRY`."""
    made = [tuple(told for need in needs for told in _of_list(need, through)) for needs in entry.of]
    return Alternatives(((),)) if () in made else Alternatives(tuple(dict.fromkeys(made)))


def _of_list(need: Atom, through: str) -> Iterator[Atom]:
    if ENTRY not in need.fact:
        yield need  # of the lead
    elif need.fact.lstrip(FOLDED) != ENTRY:
        return  # of what is made of the entry
    elif isinstance(need, OneOf):
        yield Holds(through, need.values)
    elif isinstance(need, Begins | Ends | Contains):
        yield replace(need, fact=need.fact.replace(ENTRY, through))


def joined(test: Node, name: str) -> Iterator[Node]:
    """The parts that `name`, && or ||, holds together."""
    if test.kind == "call" and test.name == name:
        for part in test.parts:
            yield from joined(part, name)
    else:
        yield test


def chosen_first(node: Node) -> Node | None:
    """The call with a choice before it that was one of its values: `(a ? b : c) > d` as `a ? b > d : c > d`.

    None when there is no choice in it, or too many.
    """
    choices = list(_choices(node))
    if not choices or len(choices) > MOST_CHOICES:
        return None
    asked, then, other = choices[0].parts
    return replace(choices[0], parts=(asked, _with(node, choices[0], then), _with(node, choices[0], other)))


def _choices(node: Node) -> Iterator[Node]:
    for part in node.parts if node.kind == "call" else ():
        if part.kind == "call" and part.name == "_?_:_":
            yield part
        elif part.kind == "call" and part.name not in {"_&&_", "_||_"}:
            yield from _choices(part)


def _with(node: Node, choice: Node, value: Node) -> Node:
    if node is choice:
        return value
    return replace(node, parts=tuple(_with(part, choice, value) for part in node.parts)) if node.parts else node
