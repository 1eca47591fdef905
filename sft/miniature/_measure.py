"""Exact match on held-out tasks, by greedy decoding; one process for all checkpoints of a seed.

``python -m sft.miniature._measure MINIATURE SEED`` writes ``measured/seed-SEED.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from judge.terminal import run_command
from sft.errors import CorruptError
from sft.miniature._corpus import held_out_file, read_rows, read_settings
from sft.miniature._files import write_json
from sft.miniature._plan import Run, held_out_losses, runs_of
from sft.miniature._settings import BASE, DOMAINS, MiniatureSettings
from sft.miniature._tasks import Row

_BATCH = 160
"""Tasks that are answered together."""


def measured_file(miniature: Path, seed: int) -> Path:
    """Where the measurement of a seed lies."""
    return miniature / "measured" / f"seed-{seed}.json"


def measure_seed(miniature: Path, settings: MiniatureSettings, seed: int) -> Path:
    """Measure the base of a seed and every epoch of the runs that start from it.

    The file that is written has one point per checkpoint: right answers per kind of task, and the
    held-out losses that the training itself took at that epoch (nats per supervised token).

    Raises CorruptError if a run's log lacks the losses of an epoch.
    """
    rows = {domain: read_rows(held_out_file(miniature, domain)) for domain in DOMAINS}
    points = [
        {
            "blend": run.blend,
            "epoch": 0 if run.blend == BASE else epoch,
            **exact_matches(run.checkpoint(miniature, epoch), rows, settings.answer_tokens),
            "losses": _losses(miniature, run, epoch),
        }
        for run, epoch in _checkpoints(settings, seed)
    ]
    return write_json(
        measured_file(miniature, seed), {"seed": seed, "synthetic": True, "points": points}
    )


def exact_matches(
    checkpoint: Path, rows: Mapping[str, Sequence[Row]], answer_tokens: int
) -> dict[str, dict[str, Any]]:
    """Domain → ``right``, ``of``, and the same by kind of task.

    An answer is right if, up to its end token, it is the reference character by character; one
    that has not ended after ``answer_tokens`` tokens is wrong.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    found = {}
    for domain, tasks in rows.items():
        answers = answer(model, tokenizer, [row.prompt for row in tasks], answer_tokens)
        tally: dict[str, list[int]] = {}
        for row, given in zip(tasks, answers, strict=True):
            kind = tally.setdefault(row.task, [0, 0])
            kind[0] += given == row.answer
            kind[1] += 1
        found[domain] = {
            "right": sum(right for right, _ in tally.values()),
            "of": len(tasks),
            "by_task": {task: {"right": right, "of": of} for task, (right, of) in tally.items()},
        }
    return found


def answer(
    model: Any, tokenizer: Any, prompts: Sequence[str], answer_tokens: int
) -> list[str | None]:
    """The likeliest answer to every prompt, laid out as the checkpoint's own chat template says.

    None for an answer that has not ended after ``answer_tokens`` tokens.
    """
    import torch

    ends = model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    pad = min(ends)
    answers: list[str | None] = []
    for start in range(0, len(prompts), _BATCH):
        batch = prompts[start : start + _BATCH]
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
            for prompt in batch
        ]
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        longest = max(map(len, ids))
        padded = torch.tensor([[pad] * (longest - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        with torch.inference_mode():
            written = model.generate(
                input_ids=padded, attention_mask=mask, do_sample=False, num_beams=1,
                max_new_tokens=answer_tokens, eos_token_id=sorted(ends), pad_token_id=pad,
            )  # fmt: skip
        answers += [_ended(row, ends, tokenizer) for row in written[:, longest:].tolist()]
    return answers


def _ended(tokens: Sequence[int], ends: set[int], tokenizer: Any) -> str | None:
    """The text before the first end token; special tokens in it are written out."""
    at = next((place for place, token in enumerate(tokens) if token in ends), None)
    if at is None:
        return None
    text: str = tokenizer.decode(tokens[:at], clean_up_tokenization_spaces=False)
    return text


def _checkpoints(settings: MiniatureSettings, seed: int) -> list[tuple[Run, int]]:
    return [
        (run, epoch)
        for run in runs_of(seed)
        for epoch in range(1, settings.epochs + 1)
        if run.blend != BASE or epoch == settings.epochs
    ]


def _losses(miniature: Path, run: Run, epoch: int) -> dict[str, float]:
    losses = held_out_losses(miniature, run)
    if epoch not in losses:
        raise CorruptError(
            f"{run.folder(miniature) / 'log.jsonl'}: no held-out loss after epoch {epoch}. Delete "
            "this run's folder to train it again"
        )
    return losses[epoch]


def read_measurement(path: Path) -> dict[str, Any]:
    """What `measure_seed` wrote."""
    measurement: dict[str, Any] = orjson.loads(path.read_bytes())
    return measurement


def _main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    measure_seed(folder, read_settings(folder), seed)


if __name__ == "__main__":
    run_command(_main, "measure", intact="Finished runs are whole.")
