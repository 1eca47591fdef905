"""Low-rank adapters: merged into full weights, and written in the format of peft beside them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft.errors import CorruptError
from sft.export._errors import ExportError, listed
from sft.export._weights import plainly

FOLDER, WEIGHTS = "adapter", "adapter_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """A trained adapter (arXiv 2106.09685)."""

    config: Any
    """peft's LoraConfig."""
    state: Mapping[str, Any]
    """Name → full CPU tensor, named as `peft.get_peft_model_state_dict` names them."""


def merge_adapter(base_model_loader: Callable[[], Any], adapter: Adapter) -> dict[str, Any]:
    """The full weights of a base model with an adapter merged in: W + alpha / rank · B A.

    Args:
        base_model_loader: Gives the base model on the CPU, as transformers loads it, with the
            vocabulary and the type that it was trained in; it is changed in place.
        adapter: What was trained.

    Returns:
        Name → CPU tensor under the model's own names, as `write_checkpoint` takes them; in the
        base's type. Sums are taken in fp32 and rounded once, so it takes the memory of the base in
        fp32.

    Raises:
        ExportError: If the adapter does not fit the base, or what comes out is not finite.
    """
    from peft import get_peft_model, set_peft_model_state_dict

    if not adapter.state:
        raise ExportError("the adapter has no tensors. Gather it from all processes")
    with plainly():
        base = base_model_loader()
    types = {name: tensor.dtype for name, tensor in base.state_dict().items()}
    model = get_peft_model(base.float(), copy.deepcopy(adapter.config))
    expected = _names(model)
    if expected != adapter.state.keys():
        raise ExportError(
            "the adapter is not one for this base model: missing "
            f"{listed(expected - adapter.state.keys()) or 'nothing'}, left over "
            f"{listed(adapter.state.keys() - expected) or 'nothing'}"
        )
    try:
        set_peft_model_state_dict(model, dict(adapter.state))
        merged = model.merge_and_unload(safe_merge=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"the adapter cannot be merged into its base model ({reason})") from error
    return {name: tensor.to(types[name]) for name, tensor in merged.state_dict().items()}


def write_adapter(folder: Path, adapter: Adapter, base_model: str | None) -> None:
    """Write an adapter as peft loads it, and check that it came down whole.

    Raises CorruptError if what is read back is something else.
    """
    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    config = copy.deepcopy(adapter.config)
    config.base_model_name_or_path = base_model
    config.inference_mode = True
    config.save_pretrained(str(folder))
    tensors = {name: tensor.contiguous().clone() for name, tensor in adapter.state.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    back = load_file(folder / WEIGHTS)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ExportError(f"adapter: {name}: NaN or infinite numbers, expected none")
        if name not in back or not torch.equal(back[name], tensor):
            raise CorruptError(f"{folder / WEIGHTS}: {name}: not what was written")


def _names(model: Any) -> set[str]:
    from peft import get_peft_model_state_dict

    return set(get_peft_model_state_dict(model))
