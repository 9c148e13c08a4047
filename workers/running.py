"""Running everything in the foreground, and single steps that the command line takes by itself."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from config import settings, wiring
from routing.errors import BadInput
from tasks.app import announce, nudge
from workers import house
from workers.supervisor import Job, Supervisor


def up(data_dir: Path | None, out: Console) -> None:
    """Run every process until Ctrl-C; with no org set, a pretend Salesforce that remembers is run beside them."""
    with ExitStack() as stack:
        cfg = stack.enter_context(house.opened(data_dir))
        stack.enter_context(alone(cfg.data_dir))
        cfg = stack.enter_context(house.faces())
        house.migrate()
        pretend = None if cfg.salesforce_login_url else pretended(cfg)
        if pretend:
            cfg = stack.enter_context(house.pointed_at(pretend.env))
            out.print(f"No Salesforce org is set: a pretend one runs at {cfg.salesforce_login_url}")
        supervised = stack.enter_context(Supervisor(cfg.data_dir / "logs", os.environ, echo=sys.stdout))
        if pretend:
            supervised.start(Job("sandbox", pretend.argv, ready=house.answers("127.0.0.1", pretend.grpc_port)))
        house.start(supervised)
        tell_addresses(cfg, out)
        try:
            supervised.run()
        except KeyboardInterrupt:
            out.print("Stopping ...")


def pretended(cfg: settings.Settings) -> house.Pretend:
    """The pretend Salesforce of this ledger. Raises BadInput where it would be new, and the members are in another.

    All of them would count as left there, as it knows none.
    """
    if not (cfg.data_dir / house.ORG).exists() and wiring.leavers(announce, nudge).book.kinds():
        raise BadInput(
            f"the members in this ledger are linked to a Salesforce org, and {cfg.data_dir} holds no pretend one",
            field="SALESFORCE_LOGIN_URL",
            fix="Set the SALESFORCE_ settings of their org, or start anew with another --dir.",
        )
    return house.pretend_salesforce(cfg.data_dir, keep=True)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold a directory for one house. Raises BadInput while another one runs in it."""
    with (directory / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            fix = "Stop it, or name another directory."
            raise BadInput(f"`fairturn up` runs in {directory} already", field="--dir", fix=fix) from exc
        yield


def tell_addresses(cfg: settings.Settings, out: Console) -> None:
    """Say where the faces are and how to get in."""
    out.print(addresses(cfg), soft_wrap=True, markup=False, highlight=out.is_terminal)


def addresses(cfg: settings.Settings) -> str:
    """Where the faces are and how to get in, in three lines."""
    web = f"http://{cfg.web_host}:{cfg.web_port}"
    flower = f"http://{cfg.flower_host}:{cfg.flower_port}"
    return (
        f"API docs  {web}/api/v1/docs\n"
        f"Metrics   {web}/metrics   Health  {web}/readyz\n"
        f"Flower    {flower}  {_login(cfg)}"
    )


def sweep_now(*, full: bool = False) -> dict[str, int]:
    """The hourly sweep, here and now; the full one compares every open record instead."""
    if full:
        return wiring.comparer(announce, nudge).everything(task_id="fairturn sweep")
    return wiring.sweeper(announce, nudge).hourly(task_id="fairturn sweep")


def _login(cfg: settings.Settings) -> str:
    if cfg.flower_password.get_secret_value():
        return f"{cfg.flower_user}, password as set"
    kept = cfg.data_dir / "flower.password"
    return f"{cfg.flower_user}, password {kept.read_text().strip()}" if kept.exists() else ""
