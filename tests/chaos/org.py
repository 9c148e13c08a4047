"""The people and web forms of the pretend org: they make leads, change and delete them, and note what was answered."""

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.armed import KILLER
from tests.chaos.history import History
from tests.chaos.town import Spot, Town

#: Records one call may carry.
MOST = 200
#: In every name, mail, phone and street of a customer here; it must be nowhere but in the org and the ledger.
MARKER = "zz-secret"
PAUSE_S = 0.5


@dataclass(slots=True)
class Org:
    """The pretend org over REST, as its own people use it."""

    url: str
    _session: requests.Session = field(default_factory=requests.Session)
    _token: str = ""

    def __post_init__(self) -> None:
        self._session.trust_env = False

    def call(self, method: str, tail: str, body: Any = None) -> Any:
        """A call below /services/data/v64.0/; raises requests.RequestException."""
        if not self._token:
            form = {"grant_type": "client_credentials", "client_id": "web forms", "client_secret": "any"}
            answer = self._session.post(f"{self.url}/services/oauth2/token", data=form, timeout=10)
            answer.raise_for_status()
            self._token = str(answer.json()["access_token"])
        headers = {"Authorization": f"Bearer {self._token}", "Sforce-Call-Options": "client=web-forms"}
        answer = self._session.request(
            method, f"{self.url}/services/data/v64.0/{tail}", json=body, headers=headers, timeout=20
        )
        if answer.status_code == 401:
            self._token = ""
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def admin(self, method: str, tail: str, body: Any = None, **params: Any) -> Any:
        """A call to the doors for tests."""
        answer = self._session.request(method, f"{self.url}/sandbox/{tail}", json=body, params=params, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def select(self, soql: str) -> Iterator[dict[str, Any]]:
        """Every row of a query."""
        page = self.call("GET", f"query?q={requests.utils.quote(soql)}")  # type: ignore[attr-defined]  # re-exported
        while True:
            yield from page["records"]
            if page["done"]:
                return
            page = self.call("GET", page["nextRecordsUrl"].partition("/v64.0/")[2])


class Clients(threading.Thread):
    """Makes `total` leads at `rate` a second (0: at once), and now and then changes or deletes one.

    `poison` of them are absurd, `killers` of them kill who reads them.
    """

    def __init__(
        self, org: Org, town: Town, history: History, *, seed: int, total: int, rate: float, poison: int, killers: int
    ) -> None:
        super().__init__(name="org", daemon=True)
        self._org, self._town, self._history = org, town, history
        self._dice = random.Random(f"{seed} org")
        self._total, self._rate = total, rate
        odd = self._dice.sample(range(total), min(total, poison + killers))
        self._odd = {n: "killer" if at < killers else "poison" for at, n in enumerate(odd)}
        self._ids: dict[str, str] = {}  # source id -> Salesforce id, of what may still be changed
        self.over = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        size = MOST if self._rate == 0 else max(1, int(self._rate / 8))
        try:
            for start in range(0, self._total, size):
                if self._rate and self.over.wait(max(0.0, began + start / self._rate - time.monotonic())):
                    break
                self._create(range(start, min(start + size, self._total)))
                self._fiddle(size)
                if self.over.is_set():
                    break
        finally:
            self.over.set()

    def _create(self, numbers: Sequence[int]) -> None:
        leads = [self._lead(n) for n in numbers]
        names = [lead["Fairturn_Source_Id__c"] for lead in leads]
        self._history.note("org", "create", leads=names)
        records = [{"attributes": {"type": "Lead"}, **lead} for lead in leads]
        try:
            answers = self._org.call("POST", "composite/sobjects", {"allOrNone": False, "records": records})
        except requests.RequestException as exc:
            self._history.note("org", "unknown", leads=names, because=type(exc).__name__)
            time.sleep(PAUSE_S)
            return
        made = {name: answer["id"] for name, answer in zip(names, answers, strict=True) if answer["success"]}
        self._ids |= made
        self._history.note("org", "created", ids=made)
        if len(made) < len(names):
            self._history.note("org", "refused", leads=[name for name in names if name not in made])

    def _fiddle(self, new: int) -> None:
        """Of a hundred new leads, two are corrected, one moves away and one is deleted."""
        for _ in range(new):
            luck = self._dice.random()
            if luck < 0.04 and self._ids:
                name = self._dice.choice(sorted(self._ids))
                change = "correct" if luck < 0.02 else "move" if luck < 0.03 else "delete"
                self._change(name, change)

    def _change(self, name: str, change: str) -> None:
        spot = self._town.lead(self._dice)
        bodies: Mapping[str, Any] = {
            "correct": {"Phone": f"555-{self._dice.randrange(10_000):04} {MARKER}"},
            "move": {"Latitude": spot.lat, "Longitude": spot.lon},
            "delete": None,
        }
        verb = "DELETE" if change == "delete" else "PATCH"
        self._history.note("org", change, lead=name)
        try:
            self._org.call(verb, f"sobjects/Lead/{self._ids[name]}", bodies[change])
        except requests.RequestException as exc:
            self._history.note("org", f"{change} unknown", lead=name, because=type(exc).__name__)
        else:
            self._history.note("org", f"{change} done", lead=name)
        if change == "delete":
            del self._ids[name]

    def _lead(self, number: int) -> dict[str, Any]:
        spot = self._town.lead(self._dice)
        lead = {
            "LastName": f"{MARKER}-name-{number:06}",
            "Company": f"{MARKER}-company-{number:06}",
            "Email": f"{MARKER}-mail-{number:06}@example.org",
            "Phone": f"555-{number:06} {MARKER}",
            "Street": f"{number} {MARKER} Street",
            "Country": "US",
            "Fairturn_Source_Id__c": f"L{number:06}",
            "Fairturn_Priority__c": self._dice.choice((0, 0, 0, 1, 5)),
            "Latitude": spot.lat,
            "Longitude": spot.lon,
        }
        odd = self._odd.get(number)
        if odd == "killer":
            return lead | {"LastName": KILLER}
        return lead | absurd(self._dice, spot) if odd else lead


def absurd(dice: random.Random, spot: Spot) -> dict[str, Any]:
    """What no honest form would send, as far as Salesforce takes it."""
    nothing = {"Latitude": None, "Longitude": None}
    return dice.choice(
        [
            {"LastName": "'; DROP TABLE leads; --", "Company": "\\' OR 1=1"},
            {"LastName": "\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH JOINER}" * 20, "Company": "\N{PILE OF POO}" * 60},
            {"LastName": "tab\tline\nreturn\r", "Company": "\x01\x02\x7f\N{NO-BREAK SPACE}"},
            {"Fairturn_Attributes__c": '{"deep":' * 400 + "1" + "}" * 400},
            {"Fairturn_Attributes__c": "{" + "9" * 30_000},
            {"Fairturn_Attributes__c": '{"a": 1e400, "b": NaN, "c": "\\u0000", "d": "\\ud800"}'},
            {"Latitude": 0, "Longitude": 0},
            {"Latitude": 90, "Longitude": -180},
            {"Country": "Atlantis", "City": "Poseidonis", "Fairturn_Priority__c": -999, **nothing},
            {"Country": None, "City": None, "Street": "somewhere", **nothing},
            {"Country": "US", "PostalCode": "00000", "City": "x" * 40, **nothing},
        ]
    )
