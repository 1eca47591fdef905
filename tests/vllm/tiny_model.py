"""A tiny Llama with random weights and a tokenizer of its own: a real model that knows nothing.

Made on the spot, from a seed; nothing is downloaded. The tokenizer is trained on the prompts,
rubrics and demo answers of this repository, so that a judge prompt has about as many tokens as
with a large model's tokenizer. What the model writes is noise: it tests plumbing, not judging.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_CONSTANT = 8.0
_STRING_ENDS, _LIST_ENDS = 18.0, 17.0
_SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>")


def texts() -> Iterator[str]:
    """What the tokenizer learns from."""
    for folder, pattern in (("prompts", "*.*"), ("rubrics", "*.yaml"), ("docs", "*.md")):
        for path in sorted((ROOT / folder).rglob(pattern)):
            if path.suffix != ".png":
                yield path.read_text("utf-8")
    yield from (ROOT / "judge" / "demo" / "answers.jsonl").read_text("utf-8").splitlines()
    for number in range(100):
        yield json.dumps({"evidence": [str(number)], "rationale": "", "level": number % 6})


def make_tiny_model(
    folder: Path,
    *,
    seed: int = 0,
    length: int = 8192,
    vocabulary: int = 4096,
    chat_template: bool = True,
    verdicts: bool = False,
) -> Path:
    """Write a model (0.6 million parameters, float32) and its tokenizer into a folder.

    With ``verdicts`` the weights are random but for one channel, which makes JSON come to an end.
    The folder's generation_config.json asks for sampling defaults that a server must not apply
    unseen (temperature 0.01).
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    pieces.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(_SPECIAL),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=list(_SPECIAL[4:]),
        model_max_length=length,
        clean_up_tokenization_spaces=False,
    )
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)

    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=length,
            tie_word_embeddings=False,
            # Larger than usual, so that the choice of a token depends on what stands before it.
            initializer_range=0.3,
            **ends,
        )
    ).float()
    if verdicts:
        _favour_ends(model, tokenizer.get_vocab())
    else:
        # The likeliest token is never the end: what the tokenizer has learned, and with it every
        # reply, changes with each page of the documentation, and must not change a reply's length.
        with torch.no_grad():
            model.lm_head.weight[tokenizer.eos_token_id] = 0.0
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.01, **ends)
    model.save_pretrained(folder)
    return folder


def _favour_ends(model: Any, vocabulary: Mapping[str, int]) -> None:
    """Make one channel a constant that favours tokens which end JSON strings and lists.

    Else hardly a verdict would end before the limit, and none would do without evidence, which
    noise cannot quote. Of verdicts under a grammar some are scored, many say that they cannot.
    """
    import torch

    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = _CONSTANT
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = 0.0
        for piece, token in vocabulary.items():
            if piece.startswith('"'):
                model.lm_head.weight[token, 0] = _STRING_ENDS
            elif piece in ("]", "],", '],"'):
                model.lm_head.weight[token, 0] = _LIST_ENDS


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--no-chat-template", action="store_true")
    given = parser.parse_args()
    make_tiny_model(given.folder, chat_template=not given.no_chat_template)
