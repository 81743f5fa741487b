"""Where `python -m proxy` begins, and `pandadoc-proxy`, which is the same."""

import os
import sys

from proxy import core_dumps, starting


def main() -> None:
    """Do what the arguments ask for. Where that is plainly to run, SIGTERM is heard before the commands are loaded."""
    os.environ.pop("SSLKEYLOGFILE", None)  # every default context of Python would write its keys there
    if sys.argv[1:2] in ([], ["run"]) or sys.argv[1].startswith("--config"):
        starting.begin()
    core_dumps.refuse()  # whatever is asked for: the environment, with its secrets, is each command's
    from proxy import cli  # noqa: PLC0415 - the reason stands above

    cli.main(prog_name="pandadoc-proxy")


if __name__ == "__main__":
    main()
