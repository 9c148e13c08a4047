"""`fairturn`: the command line. Each command is a door, loaded when it is opened; the work is in what it names."""

import os
import sys
from importlib import import_module

import click
from rich.console import Console

from config.version import VERSION
from routing.errors import BadInput, FairturnError, LedgerOutdated, TryLater

err = Console(stderr=True, highlight=False)

#: In which modules of this room each command is.
DOORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("up", "demo"), ("cli_run",)),
    **dict.fromkeys(("doctor", "migrate", "rebuild", "sweep", "settings"), ("cli_house",)),
    **dict.fromkeys(("members", "explain", "parked"), ("cli_ledger",)),
    **dict.fromkeys(("user", "client", "key", "token"), ("cli_access",)),
    **dict.fromkeys(("at", "verify"), ("cli_past",)),
    **dict.fromkeys(("find", "reprocess", "export"), ("cli_find",)),
    "simulate": ("cli_simulate",),
    "generate": ("cli_generate",),
    "lead": ("cli_leads", "cli_try"),
    "offer": ("cli_offers",),
    "policy": ("cli_policy", "cli_contents"),
    "shadow": ("cli_shadow",),
    "turns": ("cli_turns",),
}


class Doors(click.Group):
    """A group whose commands are loaded when they are asked for: what one does not use costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return sorted(DOORS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for home in DOORS.get(cmd_name, ()):
            import_module(f"workers.{home}").add_to(self)
        return super().get_command(ctx, cmd_name)


def main() -> None:
    """Run a command; a foreseen error is one line that says what to do next. Exit 1, or 2 for wrong input."""
    try:
        cli(prog_name="fairturn", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except BadInput as exc:
        err.print(str(exc), style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except FairturnError as exc:
        waiting_helps = isinstance(exc, TryLater) and not isinstance(exc, LedgerOutdated)
        hint = " Try again in a moment; `fairturn doctor` says what is unwell." if waiting_helps else ""
        err.print(f"{exc}{hint}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


@click.group(cls=Doors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="fairturn")
def cli() -> None:
    """Gives every lead to the right partner, at once and provably fairly."""


if __name__ == "__main__":
    main()
