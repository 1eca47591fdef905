"""What every page of Plumbline stands on: templates that escape, a policy, one look.

Texts of models, judges and question sets are hostile until shown otherwise. Every value that a
template prints passes two steps that no template can forget: `visible` (control characters and
direction overrides become signs one can see) and HTML escaping. The content security policy lets
nothing load, and no script run but one, named by its hash.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from judge.report._marking import visible

_BASE = Path(__file__).resolve().parent / "templates" / "base.css"


def page_environment(folder: Path) -> Environment:
    """The environment of the templates in a folder; filters and globals are the caller's to add."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page_style(folder: Path, *sheets: str) -> Markup:
    """The style of a page: colours, fonts and dark mode of all pages, then the sheets of this one.

    The sheets are files of ours, so that they are not escaped.
    """
    files = (_BASE, *(folder / sheet for sheet in sheets))
    return Markup("".join(file.read_text("utf-8") for file in files))  # noqa: S704 - files of ours


def content_security_policy(script: str | None = None) -> str:
    """The policy under which nothing is loaded, and no script runs but this inline one."""
    scripts = ""
    if script is not None:
        digest = b64encode(sha256(script.encode()).digest()).decode()
        scripts = f"script-src 'sha256-{digest}'; "
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; {scripts}"
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
