"""`python -m workers.start worker --queues leads`, or `beat`: two of Celery's own commands, with their own options.

Celery's command line loads every command and plugin it knows, Flower and a shell among them, before it starts one.
Who comes back after a crash has not the time.
"""

import gc
import sys
from collections.abc import Sequence
from typing import Any

from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker
from celery.signals import setup_logging

from config import logs, settings
from tasks.app import app

COMMANDS = {"worker": worker, "beat": beat}


@setup_logging.connect
def _our_logs(**_: Any) -> None:
    """Celery's processes log as the others do; a connected handler keeps Celery from setting up its own."""
    cfg = settings.load()
    logs.setup(cfg.log_level, cfg.log_format, process="celery")


def main(argv: Sequence[str]) -> int:
    """Run the process until it is told to stop."""
    name, *options = argv or ("",)
    if name not in COMMANDS:
        sys.stderr.write(f"Name what to start: {' or '.join(COMMANDS)}.\n")
        return 2
    if name == "beat":
        app.conf.include = ()  # it only names tasks
    else:
        gc.disable()  # nothing that is imported is garbage
        from workers import main as _main  # noqa: F401, PLC0415 - what beat can do without

        gc.enable()
    context = CLIContext(app=app, no_color=True, workdir=None)
    code = COMMANDS[name].main(options, prog_name=name, obj=context, standalone_mode=True)
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
