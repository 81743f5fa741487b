"""What a command says to a person, who may be gone, or whose disk may be full: it must not fail for that.

What it says is often of something that can't be undone; an exit code that says failure would have it done again.
"""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

import click


def tell(text: str) -> None:
    """Say it on standard output; where that takes nothing, on standard error, as all that comes after it."""
    try:
        put_out(text)
    except OSError:
        sys.stdout = sys.stderr
        complain(text)


def complain(text: str) -> None:
    """Say it on standard error."""
    with suppress(OSError):
        _write(text, sys.stderr)


def put_out(text: str) -> None:
    """Write on standard output what is for a program to read. Raises OSError where that takes nothing."""
    _write(text, sys.stdout)


def _write(text: str, stream: TextIO) -> None:
    try:
        click.echo(text, file=stream)
    except OSError:
        empty(stream)
        raise


def empty(stream: TextIO) -> None:
    """Let go what a stream could not write: the interpreter would try again at its end, and exit with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def make_ready() -> None:
    """Open what is closed of standard input, output and error; let any text be written, be it in escapes.

    What is opened next would stand in the place of what is closed.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        os.set_inheritable(handle, True)  # noqa: FBT003 - as such are, for programs that we start
    os.close(handle)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - while the process lives
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the same
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the same
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does by itself
