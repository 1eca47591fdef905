"""Folders that are whole or not there: written beside their place, then renamed into it.

While ``epoch-N`` is written it is called ``.epoch-N.writing``. An older ``epoch-N`` is exchanged
with it in one step where the system can (Linux, `renameat2`); elsewhere it is ``.epoch-N.replaced``
for a moment. A folder that is deleted is ``.epoch-N.removed`` first. A process that is killed can
leave any of these behind; `clean_up` puts them right.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from sft.errors import UsageError
from sft.files import sync, sync_tree

_EPOCH = re.compile(r"epoch-([1-9]\d*)")
_LEFT = re.compile(r"\.(epoch-[1-9]\d*)\.(?:writing|replaced|removed)")
_AT_CWD, _EXCHANGE = -100, 2
"""Of Linux: AT_FDCWD and RENAME_EXCHANGE."""


def writing(target: Path) -> Path:
    """What a folder is called while it is written."""
    return target.with_name(f".{target.name}.writing")


def broken(target: Path) -> Path:
    """Where a folder goes that did not pass its checks."""
    return target.with_name(f"{target.name}.broken")


def sweep(target: Path) -> None:
    """Put right what a killed process left of one folder.

    An older version that was set aside comes back if there is no newer one; all else goes.
    """
    aside = _replaced(target)
    if aside.is_dir() and not target.exists():
        aside.rename(target)
        sync(target.parent)
    for left in (aside, writing(target), _removed(target)):
        if left.is_dir():
            shutil.rmtree(left)


def clean_up(folder: Path) -> None:
    """Put right what killed processes left in a run's folder, for all its epochs."""
    found = {match[1] for path in folder.iterdir() if (match := _LEFT.fullmatch(path.name))}
    for name in sorted(found):
        sweep(folder / name)


def move_in(new: Path, target: Path) -> None:
    """Put a finished folder in its place, instead of an older one if there is one.

    Both lie in the same folder. All is on the disk before it can be seen under its name.
    """
    sync_tree(new)
    if not target.exists():
        new.rename(target)
    elif _exchanged(new, target):
        sync(target.parent)
        shutil.rmtree(new)
    else:
        aside = _replaced(target)
        target.rename(aside)
        new.rename(target)
        sync(target.parent)
        shutil.rmtree(aside)
    sync(target.parent)


def set_aside(new: Path, target: Path) -> Path:
    """Keep a folder that did not pass its checks as ``NAME.broken``, the latest one only."""
    place = broken(target)
    if place.is_dir():
        shutil.rmtree(place)
    new.rename(place)
    return place


def prune_epochs(folder: Path, keep: Collection[int] | None) -> tuple[int, ...]:
    """Delete the exported epochs of a run that are not to be kept; gives their numbers, ascending.

    None keeps all. Folders with other names (``epoch-2.broken``, ``states``) are not touched, and
    a process that is killed meanwhile leaves no half epoch. Raises UsageError, and deletes
    nothing, if none of the epochs to keep is there.
    """
    if keep is None:
        return ()
    clean_up(folder)
    there = {
        int(match[1]): path
        for path in folder.iterdir()
        if path.is_dir() and (match := _EPOCH.fullmatch(path.name))
    }
    if there and not there.keys() & set(keep):
        raise UsageError(
            f"{folder}: none of the epochs to keep ({', '.join(map(str, sorted(keep))) or 'none'}) "
            f"is here, only {', '.join(map(str, sorted(there)))}; nothing was deleted. Name at "
            "least one of these in save.keep_epochs"
        )
    gone = tuple(sorted(there.keys() - set(keep)))
    for epoch in gone:
        hidden = _removed(there[epoch])
        there[epoch].rename(hidden)
        sync(folder)
        shutil.rmtree(hidden)
    return gone


def _replaced(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _removed(target: Path) -> Path:
    return target.with_name(f".{target.name}.removed")


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False where system or file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(rename(_AT_CWD, names[0], _AT_CWD, names[1], _EXCHANGE) == 0)
