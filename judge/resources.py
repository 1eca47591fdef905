"""Where the files that ship with Plumbline lie: ``rubrics/``, ``prompts/``, schemas, the demo.

In a checkout ``rubrics/`` and ``prompts/`` stand at the top of the repository; in an installed
wheel the same folders lie inside the package. Both layouts are served by `shipped`.
"""

from __future__ import annotations

from pathlib import Path

from judge.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent


def shipped(relative: str) -> Path:
    """The path of a shipped file or folder, e.g. ``rubrics/communication.yaml``.

    Raises FileNotFoundError if the installation lacks it (a defect of the package).
    """
    for base in (_PACKAGE / "_shipped", _PACKAGE.parent, _PACKAGE):
        candidate = base / relative
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"the installation lacks {relative}")


def resolve(name_or_path: str, folder: str) -> Path:
    """The file that a user means by a path or by the NAME of a file shipped in ``folder``.

    A path that exists wins; a bare name is looked up as ``folder/NAME.yaml``. Raises UsageError
    that lists the shipped names otherwise.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == "" and len(path.parts) == 1:
        candidate = shipped(folder) / f"{name_or_path}.yaml"
        if candidate.is_file():
            return candidate
    names = ", ".join(sorted(p.stem for p in shipped(folder).glob("*.yaml")))
    raise UsageError(
        f"{name_or_path}: no such file, and no shipped file in {folder}/ has that name. "
        f"Give a path or one of: {names}."
    )
