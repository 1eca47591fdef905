"""Whether a written checkpoint is whole, and is the model that was trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from judge.checkpoints import require_model
from sft.errors import CorruptError, UsageError
from sft.export._card import file_facts, read_card
from sft.export._errors import ExportError, listed
from sft.export._probe import UNITS, Probe, coarser, distance, tolerance
from sft.export._weights import (
    Shapes,
    base_shapes,
    embedding_name,
    kept_in_fp32,
    plainly,
    vocabulary_names,
)
from sft.tokenisation._vocabulary import FACTS, tokenizer_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found of a checkpoint that passed."""

    tensors: int
    parameters: int
    dtype: str
    distance: float | None
    """From the live model's logits (`sft.export.distance`); None without a probe."""
    tolerance: float | None
    """The largest distance that passes."""


def verify_checkpoint(
    folder: Path,
    *,
    base: Shapes | Path | None = None,
    grown_vocabulary: int | None = None,
    probe: Probe | None = None,
) -> Verified:
    """Check a checkpoint that `write_checkpoint` wrote, as a server will find it.

    The card is of its published form, and every file has the size and the hash that it names. Then
    the model: see `verify_model`.

    Args:
        folder: The checkpoint.
        base: Names and shapes that the tensors in its files must have: a mapping, or the folder of
            the base model. None: only what the model's class expects.
        grown_vocabulary: Rows that embeddings and head have now where the base has fewer.
        probe: Logits of the live model to hold its own against.

    Raises:
        CorruptError: Naming the file or tensor, what was found and what was expected.
        UsageError: If the base cannot be read.
    """
    card = read_card(folder)
    _require_files(folder, card["files"])
    found = verify_model(
        folder, base=base, grown_vocabulary=grown_vocabulary, probe=probe, expected=None
    )
    model = card["model"]
    said = (model["parameters"], model["dtype"])
    if (found.parameters, found.dtype) != said:
        raise CorruptError(
            f"{folder}: found {found.parameters:,} parameters in {found.dtype}, the card says "
            f"{said[0]:,} in {said[1]}"
        )
    stops = json.loads((folder / "generation_config.json").read_text("utf-8"))["eos_token_id"]
    if (stops if isinstance(stops, list) else [stops]) != card["end_ids"]:
        raise CorruptError(
            f"{folder / 'generation_config.json'}: found eos_token_id {stops}, the card says "
            f"{card['end_ids']}"
        )
    return found


def verify_model(
    folder: Path,
    *,
    base: Shapes | Path | None,
    grown_vocabulary: int | None,
    probe: Probe | None,
    expected: Mapping[str, Any] | None,
) -> Verified:
    """Check the model in a folder; card or not.

    It is what `judge answer` takes for a whole model. All tensors are finite and of the type that
    config.json says, under the names and with the shapes of the base. transformers loads it without
    a tensor missing or left over; tied weights are one tensor then. With ``expected`` (name →
    tensor under the model's own names) every weight is the same, bit for bit; with a probe, the
    logits are too, within `tolerance`. The tokenizer is the one that was saved. Takes the memory
    of the model. Raises CorruptError; UsageError if the base cannot be read.
    """
    try:
        require_model(folder, str(folder))
    except UsageError as error:
        raise CorruptError(str(error)) from None
    found = _tensors(folder)
    model, tied = _loaded(folder)
    dtype = _require_types(folder, model, found)
    shapes = {name: shape for name, (shape, _, _) in found.items()}
    if base is not None:
        _require_like(folder, shapes, base, model, tied, grown_vocabulary)
    rows = int(model.get_input_embeddings().weight.shape[0])
    said = model.config.get_text_config().vocab_size
    if rows != said or (grown_vocabulary is not None and rows != grown_vocabulary):
        raise CorruptError(
            f"{folder}: {embedding_name(model)} has {rows} rows, config.json says {said}"
            + (f", expected {grown_vocabulary}" if grown_vocabulary is not None else "")
        )
    if expected is not None:
        _require_same(folder, model, expected)
    _require_tokenizer(folder)
    apart, bound = _probed(folder, model, probe, dtype)
    parameters = sum(p.numel() for p in model.state_dict(keep_vars=True).values())
    parameters -= sum(model.state_dict()[name].numel() for name in tied)
    return Verified(
        tensors=len(found), parameters=parameters, dtype=dtype, distance=apart, tolerance=bound
    )


def require_tokenizer(model: Any, tokenizer: Path) -> None:
    """Check before training that a tokenizer beside a model's configuration stays what it is.

    For some model types transformers ignores which class a tokenizer says it is of, and takes the
    type's own with other rules for splitting words; the checkpoints would fail their check for it.

    Args:
        model: The transformers model; only its configuration is used.
        tokenizer: The folder that `Vocabulary.save` wrote.

    Raises:
        ExportError: If it becomes another one.
    """
    with TemporaryDirectory() as name:
        folder = Path(name) / "model"
        shutil.copytree(tokenizer, folder)
        model.config.save_pretrained(folder)
        try:
            _require_tokenizer(folder)
        except CorruptError as error:
            reason = str(error).removeprefix(f"{folder}: ")
            raise ExportError(
                f"{tokenizer}: beside a model of the type {model.config.model_type}, transformers "
                f"makes another tokenizer of it ({reason}). Blend the data with the tokenizer of "
                "the base model's own folder, or train a model of another type"
            ) from error


def _require_files(folder: Path, named: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise CorruptError unless the folder has the files of its card, and no other weights."""
    facts = file_facts(folder)
    if missing := named.keys() - facts.keys():
        raise CorruptError(f"{folder}: {listed(missing)}: named by the card, but not here")
    for name, said in named.items():
        for fact in ("bytes", "hash"):
            if facts[name][fact] != said[fact]:
                raise CorruptError(
                    f"{folder / name}: found {fact} {facts[name][fact]}, the card says "
                    f"{said[fact]}: it was changed or damaged since. Copy it again, or export the "
                    "epoch again"
                )
    more = {name for name in facts.keys() - named.keys() if name.endswith((".safetensors", ".bin"))}
    if more:
        raise CorruptError(f"{folder}: {listed(more)}: weights that the card does not name")


def _tensors(folder: Path) -> dict[str, tuple[tuple[int, ...], Any, Path]]:
    """Name → shape, type and file of every tensor in the folder's files; all of them are finite."""
    import torch
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[tuple[int, ...], Any, Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - no mapping
                    if name in found:
                        raise CorruptError(f"{path}: {name} is in {found[name][2].name} too")
                    tensor = file.get_tensor(name)
                    if bad := int((~torch.isfinite(tensor)).sum()):
                        raise CorruptError(
                            f"{path}: {name}: {bad} of {tensor.numel()} numbers are NaN or "
                            "infinite, expected none"
                        )
                    found[name] = (tuple(tensor.shape), tensor.dtype, path)
        except (SafetensorError, OSError) as error:
            raise CorruptError(f"{path}: cannot be read ({error})") from None
    return found


def _loaded(folder: Path) -> tuple[Any, Mapping[str, str]]:
    """The model, and which of its tensors are which others."""
    from transformers import AutoModelForCausalLM

    try:
        with plainly():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype="auto",
                local_files_only=True,
                output_loading_info=True,
                # Not as they are: so that they are reported by name, which is refused below.
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
            )
    except Exception as error:  # whatever a server would run into
        reason = " ".join(str(error).split())[:300]
        raise CorruptError(f"{folder}: transformers cannot load it ({reason})") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if names := report[problem]:
            raise CorruptError(
                f"{folder}: loaded by transformers, it has {problem.replace('_', ' ')}: "
                f"{listed(names)}; expected none"
            )
    tied: dict[str, str] = dict(model.all_tied_weights_keys)
    said = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
    head = model.get_output_embeddings()
    if head is not None:
        shared = head.weight is model.get_input_embeddings().weight
        if shared != said:
            raise CorruptError(
                f"{folder}: tie_word_embeddings is {said} in config.json, yet embeddings and head "
                f"are {'one tensor' if shared else 'two tensors'} when it is loaded"
            )
    weights = model.state_dict()
    for name, source in tied.items():
        if weights[name].data_ptr() != weights[source].data_ptr():
            raise CorruptError(f"{folder}: {name} is not tied to {source} when it is loaded")
    return model.eval(), tied


def _require_types(folder: Path, model: Any, found: Mapping[str, Any]) -> str:
    """The type that config.json names; raises CorruptError for tensors of another one."""
    said = json.loads((folder / "config.json").read_text("utf-8")).get("dtype")
    if said not in UNITS:
        raise CorruptError(
            f"{folder / 'config.json'}: found dtype {said}, expected one of {', '.join(UNITS)}"
        )
    for name, (_, dtype, path) in found.items():
        type_name = str(dtype).removeprefix("torch.")
        fp32 = type_name == "float32" and kept_in_fp32(model, name)
        if dtype.is_floating_point and type_name != said and not fp32:
            raise CorruptError(f"{path}: {name}: found {type_name}, config.json says {said}")
    return str(said)


def _require_like(
    folder: Path,
    found: Shapes,
    base: Shapes | Path,
    model: Any,
    tied: Mapping[str, str],
    grown: int | None,
) -> None:
    """Raise CorruptError unless names and shapes are the base's, but for grown vocabularies."""
    shapes = base_shapes(base) if isinstance(base, Path) else base
    ignored = [*(model._keys_to_ignore_on_load_unexpected or ())]
    wanted = {
        name: tuple(shape)
        for name, shape in shapes.items()
        if name not in tied and not any(re.search(pattern, name) for pattern in ignored)
    }
    if missing := wanted.keys() - found.keys():
        raise CorruptError(
            f"{folder}: {listed(missing)}: tensors of the base that are not in the files (found: "
            f"{listed(found.keys() - wanted.keys()) or 'no others'}); were they renamed in saving?"
        )
    if unknown := found.keys() - wanted.keys():
        raise CorruptError(f"{folder}: {listed(unknown)}: tensors that the base does not have")
    by_token = vocabulary_names(model)
    for name, shape in wanted.items():
        expected = shape
        if grown is not None and name in by_token and grown > shape[0]:
            expected = (grown, *shape[1:])
        if found[name] != expected:
            raise CorruptError(f"{folder}: {name}: found shape {found[name]}, expected {expected}")


def _require_same(folder: Path, model: Any, expected: Mapping[str, Any]) -> None:
    """Raise CorruptError unless the loaded weights are these, bit for bit."""
    import torch

    loaded = model.state_dict()
    for name, tensor in expected.items():
        if not torch.equal(loaded[name], tensor):
            different = int((loaded[name] != tensor).sum())
            raise CorruptError(
                f"{folder}: {name}: {different} of {tensor.numel()} numbers are not those of the "
                "model that was saved"
            )


def _require_tokenizer(folder: Path) -> None:
    """Raise CorruptError unless the tokenizer beside the weights is the one that was saved."""
    from transformers import AutoTokenizer

    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        said, ends = facts["hash"], facts["end_ids"]
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the tokenizers library raises plain exceptions
        reason = " ".join(str(error).split())[:300]
        raise CorruptError(f"{folder}: its tokenizer cannot be loaded ({reason})") from error
    if (found := tokenizer_hash(tokenizer, ends)) != said:
        raise CorruptError(
            f"{folder}: loaded beside this model, the tokenizer has the hash {found}; {FACTS} says "
            f"{said}, so a server would read texts differently than training did"
        )


def _probed(
    folder: Path, model: Any, probe: Probe | None, dtype: str
) -> tuple[float | None, float | None]:
    """How far the model's logits are from the probe's, and how far they may be."""
    import torch

    if probe is None:
        return None, None
    config = model.config.get_text_config()
    rows = int(model.get_input_embeddings().weight.shape[0])
    inner = [max(p.shape) for p in model.parameters() if p.ndim > 1 and rows not in p.shape]
    bound = tolerance(
        layers=int(config.num_hidden_layers),
        width=max(inner, default=int(config.hidden_size)),
        dtype=coarser(dtype, probe.dtype),
    )
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(probe.ids)]), use_cache=False).logits[0]
    expected = torch.as_tensor(probe.logits).cpu()
    if logits.shape != expected.shape:
        raise CorruptError(
            f"{folder}: logits of shape {tuple(logits.shape)}, the live model's are "
            f"{tuple(expected.shape)}"
        )
    apart = distance(logits, expected)
    if not apart <= bound:
        raise CorruptError(
            f"{folder}: on {len(probe.ids)} tokens its logits are {apart:.3g} away from those of "
            f"the live model, relative to their size; expected at most {bound:.3g} "
            f"({dtype}, {config.num_hidden_layers} layers). It is not the model that was trained"
        )
    return apart, bound
