"""What every command is told: where the car directory is, and how to print.  Also the options that say so."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carruns.cli.screen import Screen, warn
from carruns.protocol import paths

if TYPE_CHECKING:
    from carruns import Client
    from carruns.reading.source import Source

#: Names the run that a command of ``carruns exec`` is in, and the one that ``carruns turn`` and ``end`` add to.
RUN_VARIABLE = "CARRUNS_RUN_ID"


class Settings:
    """The global options as given; ``ctx.obj`` of every command."""

    def __init__(self) -> None:
        self.car_dir_option: str | None = None
        self.socket_option: str | None = None
        self.json = False
        self.color: bool | None = None

    @cached_property
    def car_dir(self) -> Path:
        """The car directory: as given, else ``$CAR_HOME``, else ``~/.car``."""
        return paths.car_dir(self.car_dir_option)

    @cached_property
    def socket(self) -> Path:
        """The daemon's socket: as given, else ``$CARRUNSD_SOCKET``, else in the car directory."""
        return paths.socket_path(self.car_dir, self.socket_option)

    @cached_property
    def screen(self) -> Screen:
        """Standard output."""
        return Screen(color=self.color)

    def client(self, *, autostart: bool | None = None, timeout: float = 10.0, strict: bool = False) -> Client:
        """Return a client of this car directory's daemon."""
        from carruns import Client

        return Client(self.car_dir_option, self.socket_option, autostart=autostart, timeout=timeout, strict=strict)

    def source(self, *, quiet: bool = False) -> Source:
        """Return where to read runs from; says on standard error if that is the files, unless ``quiet``."""
        from carruns.reading.source import open_source

        return open_source(self.car_dir, self.socket, (lambda _: None) if quiet else warn)

    @property
    def runs_root(self) -> Path:
        """The directory of the run files, for what reads all of them."""
        return self.car_dir / paths.RUNS_NAME


def _keep(name: str) -> Any:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.ensure_object(Settings), name, value)

    return callback


def common_options(*, hidden: bool) -> list[click.Parameter]:
    """Return the global options; commands take them too, hidden, so that they may stand anywhere."""
    directory = click.Path(file_okay=False)
    return [
        click.Option(
            ["--car-dir"], type=directory, metavar="DIR", expose_value=False, callback=_keep("car_dir_option"),
            hidden=hidden, help="The car directory (default: $CAR_HOME, else ~/.car).",
        ),
        click.Option(
            ["--socket"], metavar="PATH", expose_value=False, callback=_keep("socket_option"), hidden=hidden,
            help="The daemon's socket (default: $CARRUNSD_SOCKET, else DIR/carrunsd.sock).",
        ),
        click.Option(
            ["--json"], is_flag=True, default=None, expose_value=False, callback=_keep("json"),
            help="Print one JSON object a line; docs/cli.md names the fields.",
        ),
        click.Option(
            ["--color/--no-color"], default=None, expose_value=False, callback=_keep("color"), hidden=hidden,
            help="Colours; by default on a terminal that has them and without NO_COLOR.",
        ),
    ]  # fmt: skip


class Command(click.Command):
    """A command that takes the global options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {}).setdefault("help_option_names", ["-h", "--help"])
        super().__init__(*args, **kwargs)
        self.params.extend(common_options(hidden=True))


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def examples(text: str) -> str:
    """Return an epilog that click prints as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in text.strip().split("\n"))
