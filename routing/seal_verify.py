"""Checks what `fairturn export chain`, `fairturn export seals` and a partner's own proof say; needs nothing but Python.

    python seal_verify.py FILE [--head NUMBER:HEX]

Rows are hashed with a salt of their own; the hashes of a batch are the leaves of a tree; a seal names the root of its
tree and the heads of seals before it. Leaves and nodes of the tree, and seals, are hashed with different first bytes,
so that none can pass for another: RFC 6962, "Certificate Transparency", section 2.1. Each seal links to the one before
and, where its number divides by 2, 4, 8 ..., to those 2, 4, 8 ... before: P. Maniatis and M. Baker, "Authenticated
Append-only Skip Lists" (2003), so that the way from the newest to any is short. Every tree has the same number of
leaves, made up with hashes of nothing, and its leaves are in the order of their hashes: a place in it tells nothing.
"""

import argparse
import hashlib
import hmac
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

#: Leaves of every tree, and steps from any of them to the root.
SIZE, STEPS = 4096, 12
_LEAF, _NODE, _SEAL = b"\x00", b"\x01", b"\x02"


def canonical(value: Any) -> bytes:
    """The one way to write a value down: JSON, names sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def salt_of(key: bytes, ref: str) -> bytes:
    """The salt of one row of a batch; of other rows it tells nothing without the key."""
    return hmac.digest(key, b"row:" + ref.encode(), "sha256")[:16]


def leaf(salt: bytes, row: Mapping[str, Any]) -> bytes:
    """The hash of one row."""
    return hashlib.sha256(_LEAF + salt + canonical(row)).digest()


def levels(leaves: Sequence[bytes], key: bytes) -> list[list[bytes]]:
    """The tree, from its leaves to its root, made up to its size."""
    if len(leaves) > SIZE:
        raise ValueError(f"a tree has {SIZE} leaves, these are {len(leaves)}")
    pads = (hmac.digest(key, b"pad:%d" % n, "sha256") for n in range(SIZE - len(leaves)))
    tree = [sorted((*leaves, *pads))]
    while len(tree[-1]) > 1:
        below = iter(tree[-1])
        tree.append([hashlib.sha256(_NODE + left + right).digest() for left, right in zip(below, below, strict=True)])
    return tree


def path(tree: Sequence[Sequence[bytes]], one: bytes) -> list[tuple[str, str]]:
    """The way from a leaf to the root: the side and the hash of each neighbour."""
    at, steps = tree[0].index(one), list[tuple[str, str]]()
    for level in tree[:-1]:
        steps.append(("left" if at % 2 else "right", level[at ^ 1].hex()))
        at //= 2
    return steps


def climb(one: bytes, steps: Iterable[Sequence[str]]) -> bytes:
    """The root that a leaf's way leads to."""
    for side, told in steps:
        other = bytes.fromhex(told)
        one = hashlib.sha256(_NODE + (other + one if side == "left" else one + other)).digest()
    return one


def head(seal: Mapping[str, Any]) -> str:
    """The hash of a seal: what the seals after it link to."""
    return hashlib.sha256(_SEAL + canonical(seal)).hexdigest()


def linked(number: int) -> list[int]:
    """Which seals before it a seal links to: the one before, and farther back by how often its number is even."""
    back, found = 1, list[int]()
    while number - back >= 1:
        found.append(number - back)
        if number & back:
            break
        back *= 2
    return found


def way(start: int, goal: int) -> list[int]:
    """The seals on the way from one to an earlier one, both included."""
    numbers = [start]
    while numbers[-1] > goal:
        numbers.append(min(n for n in linked(numbers[-1]) if n >= goal))
    return numbers


#: Kinds of rows that go when they are old enough.
AGING = frozenset({"decisions", "corrections", "timeline"})
#: What the audit calls the note, sealed before, of what is removed: up to which seals, written before when.
REMOVES = "retention.removes"
#: Nothing is removed that is younger.
LEAST_AGE = timedelta(days=60)


class Chain:
    """Reads a chain line by line, and says what is wrong with it; `rows` counts what could be checked."""

    def __init__(self) -> None:
        self.heads: dict[int, str] = {}
        self.rows = self.removed = 0
        self._seal: Mapping[str, Any] | None = None
        self._key, self._gone = b"", False
        self._leaves: list[bytes] = []
        self._wrong_rows = 0
        self._keyed, self._keyless = False, list[int]()
        self._kept = set[str]()  # kinds of which a seal is there with its rows
        self._aged = list[Mapping[str, Any]]()  # seals whose rows are said to be removed
        self._notes = list[tuple[Mapping[str, Any], Mapping[str, Any]]]()  # of removals, each with its seal

    @property
    def newest(self) -> int:
        return len(self.heads)

    def read(self, lines: Iterable[str]) -> Iterator[str]:
        """Everything that is wrong, one sentence each."""
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield from self._line(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                yield f"line {number} cannot be read as a seal or a row of one"
        yield from self._end()
        if self._keyed:  # without keys altogether these are seals alone
            yield from (f"seal {number} has no key: its rows cannot be checked" for number in self._keyless)
            for seal in self._aged:
                if not any(_noted(seal, note, said_in) for note, said_in in self._notes):
                    yield (
                        f"seal {seal['number']} is said to be removed for its age, and no sealed note says that its "
                        f"{seal['kind']} were to be"
                    )

    def _line(self, told: Mapping[str, Any]) -> Iterator[str]:
        if "seal" in told:
            yield from self._end()
            yield from self._begin(told)
        else:
            yield from self._row(told)

    def _begin(self, told: Mapping[str, Any]) -> Iterator[str]:
        seal = told["seal"]
        number, _, _, _ = int(seal["number"]), seal["kind"], seal["root"], seal["links"]
        self._key, self._gone = bytes.fromhex(told.get("key", "")), bool(told.get("removed"))
        self._seal, self._leaves, self._wrong_rows = seal, [], 0
        yield from self._age(seal)
        self._keyed |= bool(self._key)
        if not self._key:
            self._keyless.append(number)
        if number != self.newest + 1:
            yield f"seal {number} comes after seal {self.newest}: seals are missing"
        if head(seal) != told["head"]:
            yield f"seal {number} is not what it was when it was made"
        wanted = [self.heads.get(n, "") for n in linked(number)]
        if seal["links"] != wanted and number == self.newest + 1:
            yield f"seal {number} was not made over the seals before it"
        self.heads[number] = told["head"]

    def _age(self, seal: Mapping[str, Any]) -> Iterator[str]:
        """Rows go for their age, the oldest first: who calls younger ones removed has taken them away."""
        kind = seal["kind"]
        if self._gone:
            self._aged.append(seal)
        if not self._gone:
            self._kept.add(kind)
        elif kind not in AGING or kind in self._kept:
            yield f"seal {seal['number']} is said to be removed for its age, which {kind} of that age are not"

    def _row(self, told: Mapping[str, Any]) -> Iterator[str]:
        if self._seal is None:
            yield f"row {told['ref']} belongs to no seal"
            return
        name = f"{self._seal['kind']} {told['ref']} (seal {self._seal['number']})"
        kept = bytes.fromhex(told["leaf"])
        self._leaves.append(kept)
        if told.get("row") is None:
            self.removed += 1
            if not self._gone:
                self._wrong_rows += 1
                yield f"{name} is missing"
            return
        self.rows += 1
        if leaf(salt_of(self._key, told["ref"]), told["row"]) != kept:
            self._wrong_rows += 1
            yield f"{name} is not what was sealed"
        elif self._seal["kind"] == "audit" and told["row"].get("action") == REMOVES:
            self._notes.append((json.loads(told["row"]["detail"]), self._seal))

    def _end(self) -> Iterator[str]:
        seal, self._seal = self._seal, None
        if seal is None or not self._key:
            return
        if len(self._leaves) > SIZE or levels(self._leaves, self._key)[-1][0].hex() != seal["root"]:
            yield f"seal {seal['number']}: its {seal['kind']} are not those that were sealed"


def _noted(seal: Mapping[str, Any], note: Mapping[str, Any], said_in: Mapping[str, Any]) -> bool:
    """Whether the note, sealed later, says that the seal's rows are removed, and they were old enough by then."""
    before, sealed_at = datetime.fromisoformat(note["before"]), datetime.fromisoformat(said_in["at"])
    return (
        said_in["number"] > seal["number"]
        and int(note["upto"].get(seal["kind"], 0)) >= seal["number"]
        and datetime.fromisoformat(seal["at"]) < before <= sealed_at - LEAST_AGE
    )


def compare(heads: Mapping[int, str], kept: tuple[int, str]) -> Iterator[str]:
    """What is wrong by a seal that was kept elsewhere."""
    if kept[0] not in heads:
        yield f"seal {kept[0]}, which was kept elsewhere, is gone"
    elif heads[kept[0]] != kept[1]:
        yield f"seal {kept[0]} is another than the one that was kept elsewhere"


def check_proof(proof: Mapping[str, Any]) -> Iterator[str]:
    """Everything that is wrong with a partner's proof, one sentence each."""
    newest, seals = proof["head"], {seal["number"]: seal for seal in proof["seals"]}
    heads = {number: head(seal) for number, seal in seals.items()}
    if newest is None:
        if proof["entries"]:
            yield "nothing is sealed yet"
        return
    if heads.get(newest["number"]) != newest["hash"]:
        yield f"seal {newest['number']} is not the one that was named"
    sound = {newest["number"]}
    for number in sorted(seals, reverse=True):
        if number in sound:
            links = dict(zip(linked(number), seals[number]["links"], strict=True))
            sound |= {n for n, told in links.items() if heads.get(n) == told}
    for entry in proof["entries"]:
        number, row = entry["seal"], entry["row"]
        root = climb(leaf(bytes.fromhex(entry["salt"]), row), entry["path"]).hex()
        if number not in sound:
            yield f"entry {row['id']}: no way leads from the newest seal to seal {number}"
        elif len(entry["path"]) != STEPS or root != seals[number]["root"]:
            yield f"entry {row['id']} is not what was sealed"


def kept_elsewhere(text: str) -> tuple[int, str]:
    """A seal as `fairturn verify --chain` prints it. Raises ValueError."""
    number, _, told = text.partition(":")
    if not number.isdecimal() or len(told) != 64 or set(told.lower()) - set("0123456789abcdef"):
        raise ValueError(f"{text!r} is no seal; write it as NUMBER:HEX, with 64 digits behind the colon")
    return int(number), told.lower()


def _kept(text: str) -> tuple[int, str]:
    try:
        return kept_elsewhere(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _checked(file: Path) -> tuple[str, dict[int, str], list[str]]:
    """What was checked, the heads of its seals, and everything that is wrong."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        proof = _proof(lines)
        lines.seek(0)
        if proof is None:
            chain = Chain()
            problems = list(chain.read(lines))
            if not chain.heads:
                problems.append("there is no seal in it")
            gone = f", {chain.removed} removed for their age" if chain.removed else ""
            return f"{chain.newest} seals over {chain.rows} rows{gone}", chain.heads, problems
    try:
        heads = {seal["number"]: head(seal) for seal in proof["seals"]}
        return f"{len(proof['entries'])} entries", heads, list(check_proof(proof))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "a proof", {}, ["parts of the proof are missing or cannot be read"]


def _proof(lines: TextIO) -> Mapping[str, Any] | None:
    """The one document of a partner's proof; None of a chain, whose lines are documents of their own."""
    try:
        first = json.loads(lines.readline())
    except ValueError:
        first = None  # the first line of a longer document, or nothing
    if isinstance(first, dict) and "entries" not in first:
        return None
    lines.seek(0)
    try:
        told = json.loads(lines.read())
    except ValueError:
        return None
    return told if isinstance(told, dict) and "entries" in told else None


def main(argv: Sequence[str] | None = None) -> int:
    """Check a file; 0 when all is well."""
    parser = argparse.ArgumentParser(description="Check a chain of seals, or a partner's own proof.")
    parser.add_argument("file")
    parser.add_argument("--head", type=_kept, metavar="NUMBER:HEX", help="a seal that was kept elsewhere")
    asked = parser.parse_args(argv)
    try:
        said, heads, problems = _checked(Path(asked.file))
    except OSError as exc:
        parser.error(f"{asked.file} cannot be read: {exc.strerror}")
    if asked.head:
        problems += compare(heads, asked.head)
    for problem in problems:
        print(problem)  # noqa: T201 - this is a command
    print(f"{said}: {'NOT SOUND' if problems else 'sound'}")  # noqa: T201 - as above
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
