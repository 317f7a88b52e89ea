"""``carruns service``: put the systemd user units in place, take them away, say how they are.

The units themselves are in ``systemd/`` and explained in ``docs/systemd.md``.  Nothing here needs root.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from carruns.cli import daemon_process
from carruns.cli import service_systemctl as systemctl
from carruns.cli import service_units as units
from carruns.cli.service_units import Origin
from carruns.protocol import paths
from carruns.reading.probe import lock_holder

_NOT_RUNNING, _NOT_INSTALLED = 3, 4  # as systemctl status
_ALL = (units.SERVICE, units.SOCKET, units.HARDENING)

_user_dir = click.option(
    "--user-dir", metavar="DIR", type=click.Path(path_type=Path),
    help="where the units go (default: $XDG_CONFIG_HOME/systemd/user, else ~/.config/systemd/user)",
)  # fmt: skip
_force = click.option("--force", is_flag=True, help="also replace or remove files that carruns did not write")


@click.group()
def service() -> None:
    """Run the daemon as a systemd user service."""


@service.command()
@_user_dir
@click.option("--car-dir", metavar="DIR", help="the car directory (default: $CAR_HOME, else ~/.car)")
@click.option("--socket", metavar="PATH", help="the socket (default: $CARRUNSD_SOCKET, else DIR/carrunsd.sock)")
@click.option("--hardening", is_flag=True, help="confine it further; needs unprivileged user namespaces")
@click.option("--enable", is_flag=True, help="listen from every login on")
@click.option("--now", is_flag=True, help="start it now, or restart it where the units have changed")
@_force
def install(
    user_dir: Path | None, car_dir: str | None, socket: str | None,
    hardening: bool, enable: bool, now: bool, force: bool,
) -> None:  # fmt: skip
    """Write carrunsd.service and carrunsd.socket for this installation.  Safe to repeat."""
    _require_systemctl()
    places = _places(car_dir, socket)
    target = _target(user_dir)
    files = units.rendered(places, hardening=hardening)
    _refuse_others(target, files, force=force)
    superfluous = not hardening and units.origin(target / units.HARDENING) is Origin.OURS
    changed = superfluous or any(not _same(target / name, text) for name, text in files.items())
    if now and changed and _loaded_from(target):
        # Before the manager reads the new units: with another path in them, nobody would remove the old socket's.
        systemctl.tell("stop", units.SOCKET, units.SERVICE)
    try:
        _write(target, files)
    except OSError as error:
        raise click.ClickException(f"the units cannot be written: {error}") from None
    if superfluous:
        (target / units.HARDENING).unlink()
        click.echo(f"removed   {target / units.HARDENING}")
    if hardening:
        places.car_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _warn_without_namespaces()
    _activate(places, changed=changed, enable=enable, now=now)


def _activate(places: units.Places, *, changed: bool, enable: bool, now: bool) -> None:
    problem = systemctl.problem()
    if problem:
        click.echo(f"The units are in place, but {problem}.", err=True)
        click.echo("From a login session: systemctl --user enable --now carrunsd.socket", err=True)
        raise SystemExit(1 if enable or now else 0)
    systemctl.tell("daemon-reload")
    if enable:
        systemctl.tell("enable", units.SOCKET)
    if now:
        _start(places)
    elif changed and systemctl.active(units.SOCKET):
        click.echo("What runs has the old units; systemctl --user restart carrunsd.socket brings the new ones.")
    else:
        click.echo("Start it with: systemctl --user start carrunsd")
    if not enable and systemctl.show(units.SOCKET, "UnitFileState") != "enabled":
        click.echo("It does not listen after the next login; --enable changes that.")


def _start(places: units.Places) -> None:
    """Start socket and service, in place of a daemon that a client has started."""
    owner = None if systemctl.active(units.SERVICE) else lock_holder(places.car_dir)
    if owner is not None and not daemon_process.started_by_client(owner, places.car_dir):
        named = f"process {owner}" if owner else "which process is not known"
        raise click.ClickException(
            f"a carrunsd runs already without these units ({named}): carruns stop ends it, unless something else "
            "keeps it running; then systemctl --user start carrunsd"
        )
    if owner is not None:  # whoever tries the library first and then installs the units
        daemon_process.stop(places.car_dir)
        click.echo(f"stopped   the carrunsd that a client had started (process {owner})")
    systemctl.tell("start", units.SOCKET, units.SERVICE)
    click.echo(f"carrunsd runs and listens on {places.socket}")


@service.command()
@_user_dir
@_force
def uninstall(user_dir: Path | None, force: bool) -> None:
    """Stop the service and remove its units.  Runs and configuration stay."""
    target = _target(user_dir)
    kinds = {name: units.origin(target / name) for name in _ALL}
    keep = {name for name, kind in kinds.items() if kind in (Origin.FOREIGN, Origin.EDITED) and not force}
    if keep:
        listed = ", ".join(f"{target / name} ({kinds[name].value})" for name in sorted(keep))
        raise click.ClickException(f"nothing is removed: {listed}; --force removes it all the same")
    if all(kind is Origin.MISSING for kind in kinds.values()):
        click.echo(f"nothing is installed in {target}")
        return
    running = _loaded_from(target)
    if running:
        systemctl.tell("disable", "--now", units.SOCKET, units.SERVICE)
    for name in (name for name in _ALL if kinds[name] is not Origin.MISSING):
        (target / name).unlink()
        click.echo(f"removed   {target / name}")
    _tidy(target)
    if running:
        systemctl.tell("daemon-reload")
        systemctl.run("reset-failed", units.SOCKET, units.SERVICE)


def _tidy(target: Path) -> None:
    """Remove what pointed at the units: the link that enabled them, and the drop-ins' directory if it is empty."""
    (target / "sockets.target.wants" / units.SOCKET).unlink(missing_ok=True)
    for directory in (target / f"{units.SERVICE}.d", target / "sockets.target.wants"):
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()


@service.command()
@_user_dir
def status(user_dir: Path | None) -> None:
    """Say what is installed and what runs.  Exit status: 0 it runs or listens, 3 it does not, 4 not installed."""
    target = _target(user_dir)
    for name in _ALL:
        click.echo(f"{name.rsplit('/', 1)[-1]:<18} {units.origin(target / name).value}")
    if units.origin(target / units.SERVICE) is Origin.MISSING:
        click.echo("Put it in place with: carruns service install --enable --now")
        raise SystemExit(_NOT_INSTALLED)
    problem = systemctl.problem()
    if problem:
        raise click.ClickException(problem)
    for name in (units.SERVICE, units.SOCKET):
        click.echo(_state(name))
    path = systemctl.show(units.SOCKET, "Listen").partition(" (")[0]
    listening = systemctl.active(units.SOCKET)
    if listening and path and not os.path.exists(path):
        click.echo(f"{path} was removed under the socket; systemctl --user restart carrunsd.socket makes it anew")
        raise SystemExit(_NOT_RUNNING)
    raise SystemExit(0 if listening or systemctl.active(units.SERVICE) else _NOT_RUNNING)


def _state(name: str) -> str:
    """Return one line on a unit: its state, its process, and why the last one ended if that was no success."""
    state, detail, file = (systemctl.show(name, key) for key in ("ActiveState", "SubState", "UnitFileState"))
    line = f"{name:<18} {state} ({detail}), {file}"
    if name == units.SOCKET:
        return f"{line}, {systemctl.show(name, 'Listen')}"
    pid, restarts, result = (
        systemctl.show(name, "MainPID"),
        systemctl.show(name, "NRestarts"),
        systemctl.show(name, "Result"),
    )
    line += f", process {pid}" if pid not in ("", "0") else ""
    line += f", restarted {restarts} times" if restarts not in ("", "0") else ""
    return line if result in ("", "success") else f"{line}, last result: {result}"


def _places(car_dir: str | None, socket: str | None) -> units.Places:
    directory = paths.car_dir(car_dir)
    listen = paths.socket_path(directory, socket)
    size = len(os.fsencode(listen))
    if size > paths.MAX_SOCKET_PATH_BYTES:
        raise click.ClickException(
            f"the socket's path has {size} bytes, {paths.MAX_SOCKET_PATH_BYTES} is the most; "
            f"choose a shorter --socket: {listen}"
        )
    if any(ord(character) < 32 for character in f"{directory}{listen}"):
        raise click.ClickException("a unit file cannot hold a path with control characters")
    return units.Places(units.daemon_command(), directory, listen, paths.home())


def _target(user_dir: Path | None) -> Path:
    if user_dir is not None:
        return Path(os.path.abspath(user_dir))
    config = os.environ.get("XDG_CONFIG_HOME") or str(paths.home() / ".config")
    return Path(config) / "systemd" / "user"


def _loaded_from(target: Path) -> bool:
    """Whether the user manager has its unit from this directory, and not from another."""
    if systemctl.problem():
        return False
    path = systemctl.show(units.SERVICE, "FragmentPath")
    return bool(path) and os.path.realpath(path) == os.path.realpath(target / units.SERVICE)


def _refuse_others(target: Path, files: dict[str, str], *, force: bool) -> None:
    """Fail, with nothing written yet, where a file is not ours."""
    for name in files:
        kind = units.origin(target / name)
        if kind in (Origin.FOREIGN, Origin.EDITED) and not force:
            raise click.ClickException(f"{target / name} is {kind.value}; --force replaces it")


def _same(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _write(target: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = target / name
        if _same(path, text):
            click.echo(f"unchanged {path}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
        click.echo(f"wrote     {path}")


def _replace(path: Path, text: str) -> None:
    """Write whole or not at all: a manager that reloads meanwhile must not see half a unit."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _warn_without_namespaces() -> None:
    """Say so where the kernel is known to refuse user namespaces: the hardened service would not start."""
    for name, bad in (
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        try:
            value = Path("/proc/sys", name).read_text().strip()
        except OSError:
            continue
        if value == bad:
            shown = name.replace("/", ".")
            click.echo(
                f"{shown} is {value}: the service may not start; if so, install without --hardening", err=True
            )


def _require_systemctl() -> None:
    if shutil.which("systemctl") is None:
        raise click.ClickException(
            "there is no systemd here (systemctl is not found); clients start the daemon by themselves"
        )
