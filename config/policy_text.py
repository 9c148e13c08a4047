"""The text of a policy: YAML without its traps, read within bounds of size, depth and repetition.

What cannot be a policy is refused before anything is made of it, by the line where it stands: text that is too long,
too deep or refers to itself, aliases that unfold to more than a person could write, characters that are not seen.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer, ComposerError
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

from routing.errors import BadInput

#: A policy of ten thousand rules has one million bytes; larger tables and areas are contents of their own.
MOST_BYTES = 8 * 1024 * 1024
#: Values in a document, aliases counted as often as they are used.
MOST_VALUES = 500_000
DEEPEST = 32
#: What no database column holds exactly.
_LARGEST = 2**63
#: Characters that are not seen, or that turn the text around them: what is read is not what is meant.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")
)

#: A way into a document, such as ("pools", 0, "name").
Way = Sequence[str | int]


class Written(dict[str, Any]):
    """A document as it was written: what it says, its text, and where in the text each part stands."""

    def __init__(
        self, document: Mapping[str, Any], *, source: str = "", name: str = "", root: yaml.Node | None = None
    ) -> None:
        super().__init__(document)
        self.source, self.name, self._root = source, name, root

    def place(self, way: Way) -> tuple[int, int] | None:
        """Line and column, from 1, of the part at this way, or of the last part on it that is written."""
        node, found = self._root, None
        for step in way:
            if node is None:
                break
            found, node = _step(node, step, found)
        return (found.line + 1, found.column + 1) if found else None


def _step(node: yaml.Node, step: str | int, found: yaml.Mark | None) -> tuple[yaml.Mark | None, yaml.Node | None]:
    if isinstance(node, yaml.MappingNode):
        # The last one counts: what a merge brought in stands before it.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and 0 <= step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return found, None


def path_of(way: Way) -> str:
    """A way as errors write it, such as pools[0].name."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{_shown(step)}" for step in way).lstrip(".")


def where(way: Way, document: Mapping[str, Any]) -> str:
    """A way as errors write it, with line and column where the document was read from a text."""
    path = path_of(way) or "policy"
    if not isinstance(document, Written):
        return path
    if not (place := document.place(way)):
        return f"{path} ({document.name})" if document.name else path
    return f"{path} ({document.name} line {place[0]}, column {place[1]})"


def _shown(key: str) -> str:
    """A key as an error may show it: not too long, and with nothing that is not seen."""
    return _UNSEEN.sub(lambda found: f"U+{ord(found[0]):04X}", key if len(key) <= 60 else key[:57] + "...")


def load(path: Path) -> Written:
    """The document in a YAML file, not yet checked. Raises BadInput when there is none, with the line."""
    return read(text_of(path), str(path))


def text_of(path: Path, *, most: int = MOST_BYTES) -> str:
    """What a file of UTF-8 says. Raises BadInput when it cannot be read, is too large or is something else."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as exc:
        raise BadInput(
            f"cannot read {path}: {exc.strerror}", field="policy file", fix="Name a file that exists."
        ) from exc
    if len(content) > most:
        raise _too_large(str(path), most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise BadInput("it is not UTF-8", field=f"{path} line {line}", fix="Save the file as UTF-8.") from exc


def read(text: str, name: str) -> Written:
    """The document a YAML text states, not yet checked. Raises BadInput naming the line."""
    if len(text) > MOST_BYTES:
        raise _too_large(name, MOST_BYTES)
    if unseen := _UNSEEN.search(text):
        line = text.count("\n", 0, unseen.start()) + 1
        raise BadInput(_names(unseen[0]), field=f"{name} line {line}", fix="Take it out.")
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        document = loader.construct_document(root) if root else None
    except yaml.YAMLError as exc:
        raise _not_yaml(exc, name) from exc
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        raise BadInput("it holds no document", field=name, fix="Begin with pools:, tiers: and default_tier:.")
    return Written(document, source=text, name=name, root=root)


def sound(document: Mapping[str, Any]) -> None:
    """Raise BadInput when a document, however it came, is not what JSON can hold or is too large to be looked at."""
    left = MOST_VALUES
    for way, value in _values(document):
        left -= 1
        if left < 0:
            raise BadInput(f"it holds more than {MOST_VALUES:,} values", field="policy", fix=_SMALLER)
        if len(way) > DEEPEST:
            raise BadInput(
                f"it is deeper than {DEEPEST} levels", field=where(way[:3], document), fix="Write it flatter."
            )
        if trouble := _trouble(value):
            raise BadInput(trouble[0], field=where(way, document), fix=trouble[1])


_SMALLER = "Keep large tables and areas as contents of their own: fairturn policy table, fairturn policy area."


def _values(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every key and value with its way; never deeper than is looked at, so that circles end."""
    ahead: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while ahead:
        way, value = ahead.pop()
        yield way, value
        if isinstance(value, Mapping):
            for key, part in value.items():
                yield (*way, str(key)), key if isinstance(key, str) else _Wrong(key)
                ahead.append(((*way, str(key)), part))
        elif isinstance(value, list | tuple):
            ahead.extend(((*way, at), part) for at, part in enumerate(value))


class _Wrong:
    """A key that is no text."""

    def __init__(self, key: object) -> None:
        self.key = key


def _trouble(value: object) -> tuple[str, str] | None:
    """What is wrong with a value, and the fix."""
    match value:
        case None | bool() | Mapping() | list() | tuple():
            return None
        case str():
            unseen = _UNSEEN.search(value)
            return (_names(unseen[0]), "Take it out.") if unseen else None
        case float() if not math.isfinite(value):
            return f"{value} is not a number", "Write a number, such as 1.5."
        case float():
            return None
        case int():
            return (
                ("the number is too large", "Give one below 9,223,372,036,854,775,808.")
                if abs(value) >= _LARGEST
                else None
            )
        case _Wrong():
            return f"the key {str(value.key)[:40]!r} is no text", "Write it in quotes."
        case _:
            return f"a {type(value).__name__} is nothing a policy can hold", "Write a text, a number, true or false."


def _names(character: str) -> str:
    return f"it holds U+{ord(character):04X}, a character that is not seen or turns text around"


def _too_large(name: str, most: int) -> BadInput:
    return BadInput(f"it is larger than {most // 1024 // 1024} MB", field=name, fix=_SMALLER)


def _not_yaml(exc: yaml.YAMLError, name: str) -> BadInput:
    mark = getattr(exc, "problem_mark", None)
    place = f" line {mark.line + 1}" if mark else ""
    problem = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "it is not YAML"
    return BadInput(f"{problem}", field=f"{name}{place}", fix=getattr(exc, "note", None) or "Mend the YAML there.")


class _Loader(Composer, CParser, SafeConstructor, Resolver):
    """`NO` is Norway, `12:30` is text, a repeated key is an error, keys are always texts, and nothing unfolds."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML keeps its resolvers in this class attribute
        first: [(tag, rule) for tag, rule in rules if tag.rsplit(":", 1)[1] in {"null", "merge"}]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self._depth, self._values = 0, 0
        self._weights: dict[int, int] = {}  # of nodes with an anchor: how many values they unfold to

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node of the text, within bounds; an alias counts as much as what it stands for."""
        event: Any = self.peek_event()  # what begins a node, by the grammar
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event, super().compose_node(parent, index))
        self._depth += 1
        self._count(1, event.start_mark)
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"it is deeper than {DEEPEST} levels", event.start_mark)
        before = self._values
        node = super().compose_node(parent, index)
        if event.anchor is not None:
            self._weights[id(node)] = self._values - before + 1
        self._depth -= 1
        return node

    def _aliased(self, event: Any, node: yaml.Node | None) -> yaml.Node | None:
        if id(node) not in self._weights:
            raise ComposerError(None, None, f"*{event.anchor} refers to what it is a part of", event.start_mark)
        self._count(self._weights[id(node)], event.start_mark)
        return node

    def _count(self, values: int, mark: Any) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise ComposerError(None, None, f"it unfolds to more than {MOST_VALUES:,} values", mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """What a node says, of the kinds that JSON has."""
        if node.tag not in _PLAIN_TAGS:
            raise ConstructorError(None, None, f"{node.tag} is not known here", node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, KeyError) as exc:
            raise ConstructorError(None, None, "the value cannot be read", node.start_mark) from exc

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping whose keys are texts, each written once; a repeated one is refused."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ComposerError(None, None, "a key is no text", key.start_mark)
            if key.value in seen:
                raise ComposerError(None, None, f"{key.value[:60]} is written twice", key.start_mark)
            seen.add(key.value)
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9]\d*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?$"), list("-+.0123456789")
)
