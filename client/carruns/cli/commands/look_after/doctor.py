"""``carruns doctor``: what is wrong with the daemon and the store, where, and what to do; ``--repair`` does it.

Looks at files itself and needs no daemon; asks one for its handshake if it answers.  ``--repair`` holds the lock of
the car directory meanwhile, so no daemon may run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from carruns.cli import exits
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol import paths
from carruns.reading.probe import State, probe
from carruns.render import harmless, units

if TYPE_CHECKING:
    from carrunsd.store.doctor.examine import Examined, Finding


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns doctor                       exit code 0 if nothing is wrong, 1 if something is
carruns doctor --repair              repair what can be repaired; originals stay as <file>.orig
carruns doctor --json | jq 'select(.level == "error")'
"""
    ),
)
@click.option(
    "--repair", is_flag=True, help="Repair what can be repaired; no daemon may run meanwhile (carruns stop)."
)
@pass_settings
def doctor(settings: Settings, *, repair: bool) -> int:
    """Say what is wrong with the daemon and the store, where, and what to do."""
    from carruns.cli.checks.daemon import check_daemon
    from carruns.cli.checks.places import check_car_dir, check_places
    from carruns.cli.checks.units import check_units
    from carrunsd.store.doctor.examine import Examined

    examined = Examined()
    findings = [*check_car_dir(settings), *check_daemon(settings), *check_units(settings)]
    findings += check_places(settings)
    findings += _store(settings, examined)
    done = _repair(settings, findings) if repair else []
    _print(settings, findings, done, examined)
    return exits.FAILURE if _left(findings) else 0


def _left(findings: list[Finding]) -> int:
    return sum(finding.level != "info" and not finding.mended for finding in findings)


# -- the store ---------------------------------------------------------------------------------------------


def _store(settings: Settings, examined: Examined) -> list[Finding]:
    from carrunsd.store.doctor.examine import examine

    return list(examine(os.path.join(settings.car_dir, paths.RUNS_NAME), examined))


def _repair(settings: Settings, findings: list[Finding]) -> list[str]:
    from carrunsd.store import lock
    from carrunsd.store.doctor.repair import repair

    if not any(finding.mendable for finding in findings):
        return []
    try:
        held = lock.take(os.path.join(settings.car_dir, paths.LOCK_NAME))
    except lock.AlreadyRunningError as error:
        raise exits.Failure(f"--repair needs the store for itself: {error}") from None
    except OSError as error:
        raise exits.Failure(f"--repair cannot take the lock: {error}") from None
    try:
        done = list(_unlink_stale(settings, findings))
        return done + list(repair(str(settings.car_dir), findings))
    finally:
        os.close(held)


def _unlink_stale(settings: Settings, findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.kind == "stale_socket" and probe(settings.socket).state is State.STALE:
            os.unlink(settings.socket)
            finding.mended = True
            yield f"{settings.socket}: removed"


# -- what is printed ---------------------------------------------------------------------------------------


def _print(settings: Settings, findings: list[Finding], done: list[str], examined: Examined) -> None:
    if settings.json:
        _print_json(findings, examined)
        return
    screen, paint = settings.screen, settings.screen.style.paint
    for finding in findings:
        style = (
            "dim" if finding.mended or finding.level == "info" else "red" if finding.level == "error" else "yellow"
        )
        where = f"{finding.place}:{finding.line}" if finding.line else finding.place
        mended = "repaired: " if finding.mended else ""
        screen.print(paint(f"{finding.level:7}", style), harmless.line(f"{where}: {finding.text}"))
        screen.print(f"        {mended}{harmless.line(finding.remedy)}" + _hint(finding))
    for line in done:
        screen.print("repaired", harmless.line(line))
    left = _left(findings)
    verdict = f"{units.counted(left, 'problem')} found" if left else "nothing is wrong"
    looked = f"{units.counted(examined.files, 'run')} of {units.counted(examined.agents, 'agent')}"
    screen.print(f"{verdict}; looked at {looked}, {units.size(examined.bytes)}")


def _hint(finding: Finding) -> str:
    return " (carruns doctor --repair does it)" if finding.mendable and not finding.mended else ""


def _print_json(findings: list[Finding], examined: Examined) -> None:
    import msgspec

    for finding in findings:
        print_json({"type": "finding", **msgspec.to_builtins(finding)})
    left = _left(findings)
    print_json({"type": "summary", "findings": left, **msgspec.to_builtins(examined)})
