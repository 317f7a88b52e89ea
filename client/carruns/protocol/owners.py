"""Whose a place is, looked at before anything is made there.

One command of root's with a user's HOME (``sudo -E``, ``CAR_HOME=``) would leave files that keep that user out of
their own store for good.
"""

from __future__ import annotations

import os


class ForeignPlaceError(PermissionError):
    """The place is another user's; the message says what to do."""


def refuse_foreign(path: str | os.PathLike[str]) -> None:
    """Raise :class:`ForeignPlaceError` if this user should make nothing at ``path``.

    That is: the directory, if it is there, must be this user's; and root makes none inside of another's.  Where
    nothing can be looked at, whoever goes on says why.
    """
    place = os.path.abspath(path)
    try:
        owner = os.stat(place).st_uid
    except FileNotFoundError:
        if os.geteuid() == 0:
            _refuse_inside_of_another(place)
        return
    except OSError:
        return
    if owner != os.geteuid():
        raise ForeignPlaceError(1, _advice(owner), place)


def _refuse_inside_of_another(place: str) -> None:
    parent = os.path.dirname(place)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    owner = os.stat(parent).st_uid
    if owner != 0:
        raise ForeignPlaceError(1, f"{parent} {_advice(owner)}", place)


def _advice(owner: int) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    return (
        f"belongs to user {owner}, and this is {who}, whose files would keep them out: "
        "run it as that user, or set CAR_HOME to a directory of your own"
    )
