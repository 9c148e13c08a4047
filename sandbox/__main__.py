"""`python -m sandbox`: a local Salesforce, served until stopped."""

import argparse
import asyncio
import sys
from pathlib import Path

from sandbox.org import Org, new_org
from sandbox.server import Doors, PortTaken, serve
from sandbox.state import SqliteJournal, open_org
from sandbox.subscription import Pace
from sandbox.tls import Identity, identity
from sandbox.verbs import by_zip, geocode_rule


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--http-port", type=int, default=0, help="REST, OAuth and SOAP in the clear (0: any free port)")
    parser.add_argument("--https-port", type=int, default=0, help="the same over TLS")
    parser.add_argument("--grpc-port", type=int, default=0, help="Pub/Sub API in the clear")
    parser.add_argument("--grpc-tls-port", type=int, default=0, help="Pub/Sub API over TLS")
    parser.add_argument("--ca-out", type=Path, required=True, metavar="FILE", help="where to write the CA to trust")
    parser.add_argument("--bare", action="store_true", help="an org without Fairturn's custom fields and object")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the org in this file from start to start")
    parser.add_argument("--seed", type=int, help="the same ids and keys at every start")
    parser.add_argument(
        "--keepalive-s", type=float, default=60.0, help="an idle stream gets an empty answer after this"
    )
    parser.add_argument(
        "--idle-close-s", type=float, default=60.0, help="a stream that asks for nothing ends after this"
    )
    parser.add_argument("--fetch-batch", type=int, default=100, help="most events in one answer")
    return parser.parse_args()


def _opened(chosen: argparse.Namespace) -> tuple[Org, Identity]:
    """The org and its certificates: kept ones, or new."""
    if not chosen.state:
        return new_org(bare=chosen.bare, seed=chosen.seed), identity()
    journal = SqliteJournal(chosen.state)
    return open_org(journal, bare=chosen.bare, seed=chosen.seed), journal.identity()


def main() -> None:
    """Parses the command line and serves."""
    chosen = _arguments()
    doors = Doors(
        ca_out=chosen.ca_out,
        http=chosen.http_port,
        https=chosen.https_port,
        grpc=chosen.grpc_port,
        grpc_tls=chosen.grpc_tls_port,
        pace=Pace(chosen.keepalive_s, chosen.idle_close_s, chosen.fetch_batch),
    )
    org, own = _opened(chosen)
    org.watchers.append(geocode_rule(org, by_zip))
    try:
        asyncio.run(serve(org, doors, own))
    except PortTaken as error:
        sys.exit(f"sandbox: {error}")


if __name__ == "__main__":
    main()
