"""Leads and partner accounts made in an org, as its web forms and admins would make them; for demos and trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from gateways.salesforce.auth import TokenProvider
from routing.errors import GiveUp, TryLater

#: Records one call may carry.
MOST = 200
TIMEOUTS = (3.05, 60)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one record: its id, or the error."""

    salesforce_id: str | None
    error: str = ""


class Seeder:
    """Creates records under its own name, so that nothing takes them for Fairturn's own writes."""

    def __init__(self, tokens: TokenProvider, *, version: str, ca_file: Path | None = None) -> None:
        self._tokens = tokens
        self._version = version
        self._http = requests.Session()
        self._verify = str(ca_file) if ca_file else True

    def leads(self, records: Sequence[Mapping[str, object]]) -> list[Made]:
        """Create up to 200 leads in one call; one result a record, in order."""
        return self._send("POST", "composite/sobjects", "Lead", records)

    def accounts(self, records: Sequence[Mapping[str, object]], *, key: str) -> list[Made]:
        """Create or update accounts by their external id field `key`; one result a record, in order."""
        made: list[Made] = []
        for start in range(0, len(records), MOST):
            chunk = records[start : start + MOST]
            made += self._send("PATCH", f"composite/sobjects/Account/{key}", "Account", chunk)
        return made

    def delete(self, salesforce_ids: Sequence[str]) -> None:
        """Delete records of any kind, up to 200 in one call."""
        self._call("DELETE", f"composite/sobjects?ids={','.join(salesforce_ids)}&allOrNone=false", None)

    def _send(self, method: str, path: str, kind: str, records: Sequence[Mapping[str, object]]) -> list[Made]:
        body = {"allOrNone": False, "records": [{"attributes": {"type": kind}, **record} for record in records]}
        return [_made(result) for result in self._call(method, path, body)]

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        session = self._tokens.token()
        url = f"{session.instance_url}/services/data/v{self._version}/{path}"
        headers = {"Authorization": f"Bearer {session.access_token}"}
        try:
            # On the call: an environment's CA bundle would outdo the session's.
            answer = self._http.request(method, url, json=body, headers=headers, timeout=TIMEOUTS, verify=self._verify)
        except requests.RequestException as exc:
            raise TryLater(f"Salesforce does not answer at {session.instance_url}") from exc
        if not answer.ok:
            raise GiveUp(f"Salesforce refused the records with HTTP {answer.status_code}", status=answer.status_code)
        return answer.json()


def _made(result: Mapping[str, Any]) -> Made:
    if result.get("success"):
        return Made(result["id"])
    errors = result.get("errors") or [{}]
    return Made(None, f"{errors[0].get('statusCode', 'ERROR')}: {errors[0].get('message', '')}")
