"""The exit codes, and the error that carries one.  ``docs/cli.md`` lists them for scripts.

Which error of the library or of ``reading`` ends with which code is decided in ``app``.
"""

from __future__ import annotations

import click

FAILURE = 1
NOTHING_FOUND = 1  # as grep(1)
NO_SUCH_RUN = 3
AMBIGUOUS = 4
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h: no daemon
NOT_BEGUN = 125
PIPE_CLOSED = 141  # 128 + SIGPIPE, as a program in C would end


class Failure(click.ClickException):
    """Something is wrong that the message names; the command ends with ``exit_code``."""

    exit_code = FAILURE


class NotBegun(Failure):
    """``exec`` did not start the command, by its own decision; 125 as with env(1) and timeout(1)."""

    exit_code = NOT_BEGUN
