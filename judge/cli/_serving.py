"""Models of our own, started for the length of a run, and only where a call is to be made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from judge.endpoint import ModelSpec
from judge.terminal import say


@contextmanager
def served(spec: ModelSpec, *, needed: bool) -> Iterator[ModelSpec]:
    """The model at an address: started where it is one of ours and is needed."""
    if spec.local is None or not needed:
        yield spec
        return
    from judge.local_models import serving

    with serving(spec, say) as running:
        yield running
