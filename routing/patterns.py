"""What a text must have at least to match a regular expression (RE2): how it begins, how it ends, what is in it.

Only what is plain is read: letters, classes of a few, alternatives of plain words. Of everything else nothing is said.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

#: No more beginnings or ends than this are told apart.
MOST = 64
_PLAIN = frozenset(" !\"#%&',-/:;<=>@_`~")
_CLASS = re.compile(r"\[([A-Za-z0-9_ -]+)\]")
_WORDS = re.compile(r"\((?:\?:)?([A-Za-z0-9_ |-]+)\)")
_COUNT = re.compile(r"\{(\d{1,3})(,\d{0,3})?\}")
_DIGITS = frozenset("0123456789")

#: One place of a pattern: the texts that can stand there, None when that is not told.
Place = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Needs:
    """What every text that matches has; empty: not told. `folded`: without regard to case, in small letters."""

    begins: frozenset[str] = frozenset()
    ends: frozenset[str] = frozenset()
    within: str = ""
    folded: bool = False
    least: int = 0  # letters
    most: int | None = None  # None: no limit


def needs(pattern: str) -> tuple[Needs, ...]:
    """What a text that matches must have at least: what one of these says. None: nothing is known."""
    folded = pattern.startswith("(?i)")
    rest = pattern[4:] if folded else pattern
    if not rest.isascii() or "(?" in rest.replace("(?:", "") or "\\Q" in rest:
        return ()
    found = tuple(_of_one(part, folded=folded) for part in _parts(rest))
    return (
        found
        if all(one.begins or one.ends or one.within or one.most is not None or one.least > 1 for one in found)
        else ()
    )


def _of_one(rest: str, *, folded: bool) -> Needs:
    first, last = rest.startswith("^"), rest.endswith("$") and not rest.endswith("\\$")
    places = _places(rest[first : len(rest) - last])
    if places is None:
        return Needs()
    if folded:
        places = [None if p is None else frozenset(text.casefold() for text in p) for p in places]
    least, most = _letters(rest[first : len(rest) - last]) or (0, None)
    return Needs(
        _joined(places) if first else frozenset(),
        _joined(places, back=True) if last else frozenset(),
        _longest(places),
        folded,
        least,
        most if first and last else None,
    )


def _parts(pattern: str) -> list[str]:
    """The alternatives that no brackets hold; none when they cannot be told apart."""
    depth, found, at, begun = 0, list[str](), 0, 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            at += 1
        elif letter == "[":
            end = _after_class(pattern, at)
            if end is None:
                return []
            at = end - 1
        elif letter == "|" and depth == 0:
            found.append(pattern[begun:at])
            begun = at + 1
        depth += (letter == "(") - (letter == ")")
        at += 1
    return [*found, pattern[begun:]]


def _after_class(pattern: str, at: int) -> int | None:
    """Where a class ends; None of one that is not plainly so."""
    end = pattern.find("]", at + 1)
    inner = pattern[at + 1 : end]
    return None if end < 0 or not inner.strip("^") or "[" in inner or "\\" in inner else end + 1


def _places(pattern: str) -> list[Place] | None:
    """The places one after the other; None when the pattern cannot be read so far as to tell them apart."""
    places: list[Place] = []
    at = 0
    while at < len(pattern):
        one = _place(pattern, at)
        if one is None:
            return None
        place, at = one
        times, at = _times(pattern, at)
        # What may stand there more than once, or not at all, is followed by we know not what.
        places += [place] * times if times is not None else [place, None] if pattern[at - 1] == "+" else [None]
        if times is None and pattern[at : at + 1] == "?":
            at += 1
    return places


def _place(pattern: str, at: int) -> tuple[Place, int] | None:
    letter = pattern[at]
    if letter.isalnum() or letter in _PLAIN:
        return frozenset({letter}), at + 1
    if letter == "\\":
        return _escaped(pattern, at)
    if letter == ".":
        return None, at + 1
    if letter == "[":
        end = _after_class(pattern, at)
        return None if end is None else (_class(pattern[at:end]), end)
    if letter == "(":
        found = _WORDS.match(pattern, at)
        end = found.end() if found else _closed(pattern, at)
        words = frozenset(found[1].split("|")) if found else None
        return None if end is None else (words, end)
    return None  # ^ and $ within, and signs of repetition without anything before them


def _escaped(pattern: str, at: int) -> tuple[Place, int] | None:
    letter = pattern[at + 1 : at + 2]
    if letter == "d":
        return _DIGITS, at + 2
    if letter in set("DwWsSbB"):
        return None, at + 2
    return (frozenset({letter}), at + 2) if letter and not letter.isalnum() else None


def _class(text: str) -> Place:
    if _CLASS.fullmatch(text) is None:
        return None
    inner = text[1:-1]
    found: set[str] = set()
    at = 0
    while at < len(inner):
        if inner[at + 1 : at + 2] == "-" and at + 2 < len(inner):
            found.update(map(chr, range(ord(inner[at]), ord(inner[at + 2]) + 1)))
            at += 3
        else:
            found.add(inner[at])
            at += 1
    return frozenset(found)


def _closed(pattern: str, at: int) -> int | None:
    """Where the group ends that begins here."""
    depth = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "[":
            end = _after_class(pattern, at)
            if end is None:
                return None
            at = end
            continue
        depth += (letter == "(") - (letter == ")")
        at += 2 if letter == "\\" else 1
        if depth == 0:
            return at
    return None


def _times(pattern: str, at: int) -> tuple[int | None, int]:
    """How often what stands before comes, None when that may be more or less; and where the pattern goes on."""
    letter = pattern[at : at + 1]
    if letter and letter in "?*+":
        return None, at + 1
    count = _COUNT.match(pattern, at) if letter == "{" else None
    if count is None:
        return 1, at
    exact = int(count[1]) if count[2] is None else None
    return exact if exact is not None and 0 < exact <= 20 else None, count.end()


def _letters(pattern: str) -> tuple[int, int | None] | None:
    """How many letters a pattern takes, at least and at most; None when it cannot be read."""
    least, most, at = 0, 0.0, 0
    while at < len(pattern):
        one = _letters_of_place(pattern, at)
        if one is None:
            return None
        (few, many), at = one
        (first, last), at = _repeated(pattern, at)
        least += few * first
        most += 0 if 0 in (many, last) else many * last
    return least, None if most == math.inf else int(most)


def _letters_of_place(pattern: str, at: int) -> tuple[tuple[int, float], int] | None:
    found = _place(pattern, at)
    if found is None:
        return None
    end = found[1]
    if pattern[at] != "(":
        bare = pattern[at : at + 2] in {"\\b", "\\B"}
        return ((0, 0.0) if bare else (1, 1.0)), end
    of_parts = [_letters(part) for part in _parts(pattern[at + 1 : end - 1].removeprefix("?:"))]
    known = [one for one in of_parts if one is not None]
    if not known or len(known) < len(of_parts):
        return None
    most = max(math.inf if many is None else many for _, many in known)
    return (min(few for few, _ in known), float(most)), end


def _repeated(pattern: str, at: int) -> tuple[tuple[int, float], int]:
    """How often what stands before comes, and where the pattern goes on."""
    letter = pattern[at : at + 1]
    count = _COUNT.match(pattern, at) if letter == "{" else None
    if count is not None:
        first, said = int(count[1]), (count[2] or "").removeprefix(",")
        times, at = (first, float(said or math.inf) if count[2] else float(first)), count.end()
    elif letter and letter in "?*+":
        times, at = (int(letter == "+"), 1.0 if letter == "?" else math.inf), at + 1
    else:
        return (1, 1.0), at
    return times, at + (pattern[at : at + 1] == "?")


def _joined(places: Sequence[Place], *, back: bool = False) -> frozenset[str]:
    """The texts that the first places, or the last, come to; none when nothing is told of them."""
    found, together = list[frozenset[str]](), 1
    for place in reversed(places) if back else places:
        if place is None or together * len(place) > MOST:
            break
        found.append(place)
        together *= len(place)
    made = frozenset("".join(parts) for parts in product(*(reversed(found) if back else found)))
    return frozenset() if "" in made else made


def _longest(places: Sequence[Place]) -> str:
    best = run = ""
    for place in places:
        run = run + next(iter(place)) if place is not None and len(place) == 1 else ""
        best = max(best, run, key=len)
    return best
