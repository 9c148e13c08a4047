"""Reads policies for routing, which never stops for one that cannot be read: the last good version goes on.

A version may be beyond this program because a newer or older one wrote it, or because somebody changed it by hand.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from routing.errors import Away, BadInput, FairturnError, TryLater
from routing.policy import Policy
from storage.postgres.policies import Policies, Text
from storage.postgres.policy_rows import digest

#: What could not be read is tried again after so long: somebody may have mended it.
AGAIN_S = 30.0
#: Versions kept in memory; leads of older ones are few.
KEPT = 8
#: Of so many rules it takes a quarter of a second to read them.
MANY = 500

Parse = Callable[[Mapping[str, Any], int], Policy]


class NoPolicy(Away):
    """No policy is published: run `fairturn migrate`, which publishes the default one."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the version that should be in force."""

    version: int
    error: str  # with the line, or the path in the document
    instead: int  # the version that goes on; itself where it was changed by hand and can still be read

    @property
    def told(self) -> str:
        """In one sentence, with what to do."""
        if self.instead == self.version:
            return f"version {self.version} {self.error}. Publish it anew: `fairturn policy publish FILE`."
        return (
            f"version {self.version} cannot be read ({self.error}); version {self.instead} goes on. "
            "Publish a sound one: `fairturn policy publish FILE`, or `fairturn policy rollback VERSION`."
        )


class PolicyReader:
    """Versions of the policy as routing sees them, each read once a process.

    `parse` makes a document a policy; `read` makes a document of the text it was published from, so that errors can
    name their line. `tell` hears once of each trouble.
    """

    def __init__(
        self,
        policies: Policies,
        parse: Parse,
        *,
        read: Callable[[str], Mapping[str, Any]] | None = None,
        tell: Callable[[Trouble], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        many: int = MANY,
    ) -> None:
        self._policies, self._parse, self._text, self._tell, self._clock = policies, parse, read, tell, clock
        self._many, self._going = many, 0
        self._beside: Future[int] | None = None
        self._reading, self._one_at_a_time = ThreadPoolExecutor(1, "policy"), Lock()
        self._read: dict[int, Policy] = {}
        self._by_digest: dict[str, int] = {}  # of what is in `_read` and says what was published
        self._troubles: dict[int, tuple[Trouble, float]] = {}
        self._looked: tuple[tuple[int, str], Trouble | None, float] | None = None
        self._told: Trouble | None = None

    def usable(self, version: int) -> int:
        """The version itself, or the last good one before it when it cannot be read. 0 stays 0: there is none.

        Raises NoPolicy when none can be read.
        """
        if version == 0 or version in self._read:
            return version
        trouble = self._trouble(version)
        return trouble.instead if trouble else version

    def going(self, version: int) -> int:
        """What routing goes by while this version is in force: what is `usable` in its place.

        One of many rules takes seconds to be read. It is read beside, and what was in force before goes on meanwhile.
        """
        beside = self._beside
        if beside is not None and beside.done():
            self._beside = None
            beside.result()  # what hindered it is told here
            beside = None
        if beside is None and self._takes_long(version):
            beside = self._beside = self._reading.submit(self.usable, version)
        if beside is None:
            self._going = self.usable(version)
        return self._going

    def _takes_long(self, version: int) -> bool:
        """Whether it is still to be read, has many rules, and another can go on meanwhile."""
        if self._going not in self._read or version in {0, *self._read} or self._held(version):
            return False
        text = self._policies.text(version)
        if text is None or self._same(text) or not isinstance(text.document, Mapping):
            return False
        rules = text.document.get("rules", ())
        return isinstance(rules, Sequence) and len(rules) >= self._many

    def policy(self, version: int) -> Policy:
        """The version itself, or the last good one before it. Raises NoPolicy when there is none that can be read."""
        usable = self.usable(version)
        if usable not in self._read:
            raise NoPolicy(version=version)
        return self._read[usable]

    def published(self) -> Policy:
        """The policy in force. Raises NoPolicy."""
        current = self._policies.in_force()
        if current is None:
            raise NoPolicy
        return self.policy(self.going(current))

    def trouble(self, *, tell: bool = False) -> Trouble | None:
        """What is wrong with the version that should be in force; None when nothing is. Cheap while nothing changes.

        What this process goes by does not change under it. `tell` of it, once. Raises NoPolicy when there is nothing to
        go by.
        """
        stamp = self._policies.stamp()
        if stamp is None:
            return None
        last = self._looked
        if last is None or last[0] != stamp or (last[1] is not None and self._clock() - last[2] >= AGAIN_S):
            last = self._looked = (stamp, self._look(stamp[0])[1], self._clock())
        if tell:
            self._tell_once(last[1])
        return last[1]

    def _tell_once(self, trouble: Trouble | None) -> None:
        if trouble is not None and trouble != self._told:
            self._tell(trouble)
        self._told = trouble

    def _trouble(self, version: int) -> Trouble | None:
        with self._one_at_a_time:
            if (known := self._held(version)) or version in self._read:
                return known
            policy, trouble = self._look(version)
            self._keep(policy)
            before = self._troubles.pop(version, None)
            if trouble is None:
                return None
            if before is None or before[0] != trouble:
                self._tell_once(trouble)
            self._troubles[version] = (trouble, self._clock())
            return trouble

    def _held(self, version: int) -> Trouble | None:
        """What is known to be wrong with a version, while it is not to be looked at again."""
        held = self._troubles.get(version)
        fresh = held and self._clock() - held[1] < AGAIN_S and held[0].instead in self._read
        return held[0] if held and fresh else None

    def _look(self, version: int) -> tuple[Policy, Trouble | None]:
        """Read a version, or what goes on in its place."""
        text = self._policies.text(version)
        if text is None:
            raise NoPolicy(version=version)
        policy, error = self._attempt(version, text)
        if policy is not None:
            return policy, Trouble(version, error, version) if error else None
        for before in self._policies.in_force_before(version):
            older = self._read.get(before) or self._older(before)
            if older is not None:
                return older, Trouble(version, error, before)
        raise NoPolicy(f"No version of the policy can be read: {error}", version=version)

    def _older(self, version: int) -> Policy | None:
        text = self._policies.text(version)
        return self._attempt(version, text)[0] if text else None

    def _attempt(self, version: int, text: Text) -> tuple[Policy | None, str]:
        """The policy, with what is wrong with it all the same; or None, and what hinders its being read."""
        as_published = not text.digest or digest(text.document) == text.digest
        policy, error = self._parsed_once(text, version) if as_published else (None, _BY_HAND)
        if policy is not None:
            return policy, ""
        written = self._written(text)
        if written is not None:
            policy, by_line = self._parsed(written, version)
            return policy, _BY_HAND if policy is not None else by_line
        if as_published:
            return None, error
        policy, error = self._parsed(text.document, version)
        return policy, _BY_HAND if policy is not None else error

    def _written(self, text: Text) -> Mapping[str, Any] | None:
        """The document by the text that it was published from, where that is still the same."""
        if self._text is None or not text.source:
            return None
        try:
            written = self._text(text.source)
        except BadInput:
            return None
        return written if not text.digest or digest(written) == text.digest else None

    def _parsed_once(self, text: Text, version: int) -> tuple[Policy | None, str]:
        """A document that is in memory under another number, as after a rollback, is not read again."""
        same = self._same(text)
        policy, error = (replace(same, version=version), "") if same else self._parsed(text.document, version)
        if policy is not None and text.digest:
            self._by_digest[text.digest] = version
        return policy, error

    def _same(self, text: Text) -> Policy | None:
        """The policy in memory that was read from the same document."""
        return self._read.get(self._by_digest.get(text.digest or "", 0))

    def _parsed(self, document: Any, version: int) -> tuple[Policy | None, str]:
        if not isinstance(document, Mapping):
            return None, "it is no document"
        try:
            return self._parse(document, version), ""
        except TryLater:
            raise
        except FairturnError as exc:
            return None, str(exc)
        except Exception as exc:  # noqa: BLE001 - whatever an unknown document does to its reader, routing goes on
            return None, f"{type(exc).__name__} while it was read"

    def _keep(self, policy: Policy) -> None:
        self._read[policy.version] = policy
        while len(self._read) > KEPT:
            self._read.pop(next(iter(self._read)))
        self._by_digest = {found: number for found, number in self._by_digest.items() if number in self._read}


_BY_HAND = "was changed by hand after it was published; what was published is used where its text is known"
