"""A small tokenizer, trained on the spot on a few sentences and saved as transformers save theirs.

`save_tiny_tokenizer` makes a byte-level one. Without merges its ids can be worked out by hand: the
special tokens come first, then the 256 bytes in the order of the characters that stand for them:
the 94 visible ASCII characters "!" to "~", 94 visible Latin-1 ones, then the other 68 bytes by
value, of which 0 to 32 come first. With three special tokens, "!" is 3, "H" is 3 + 39 = 42, a line
break is 3 + 188 + 10 = 201, and a space is 3 + 188 + 32 = 223.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

SENTENCES = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "How do I set a daily budget for an advertisement? Open the settings of the campaign.",
    "An answer has a beginning, a middle and an end; the end is a token of its own.",
    "def add(a, b):\n    return a + b\n\n\nprint(add(2, 3))\n",
    "如何设置广告的每日预算？打开广告系列的设置。",
    "熊猫是一种黑白相间的动物，主要吃竹子。",
)
"""What it learns from (invented)."""

_WORDS = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
"""What byte-level merges do not reach over; a run of line breaks is in one piece."""

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def save_tiny_tokenizer(
    folder: Path,
    *,
    vocabulary: int | None = None,
    special: Sequence[str] = (),
    begins: bool = True,
    eos: str | None = EOS,
    pad: str = PAD,
    chat_template: str | None = None,
    spaces: Literal["bytes", "first", "always"] = "bytes",
    stops: Sequence[int] | None = None,
) -> Path:
    """Train a tokenizer and save it into a folder; gives the folder.

    Args:
        folder: Where to.
        vocabulary: Tokens in all; None for a byte-level one without merges.
        special: Special tokens besides ``<s>`` (0), ``</s>`` (1) and ``<pad>`` (2).
        begins: Whether it puts ``<s>`` before a text of its own accord.
        eos: Its end token; None for none.
        pad: Its padding token; ``</s>`` as many models have it.
        chat_template: Its chat template, if any.
        spaces: ``bytes``: byte-level. ``always`` and ``first``: words with a mark for the space
            before them, also where there is none: behind every special token, or only at the
            beginning of a text.
        stops: Ids for the ``eos_token_id`` of a generation_config.json.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = [BOS, EOS, PAD, *special]
    if spaces == "bytes":
        pieces = Tokenizer(models.BPE())
        pieces.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        pieces.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        names.append("<unk>")
        pieces = Tokenizer(models.BPE(unk_token="<unk>"))
        pieces.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=spaces)
        pieces.decoder = decoders.Metaspace(prepend_scheme=spaces)
        alphabet = []
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary or len(names) + 256,
        special_tokens=names,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    pieces.train_from_iterator(SENTENCES, trainer)
    if begins:
        pieces.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, 0)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        bos_token=BOS,
        eos_token=eos,
        pad_token=pad,
        unk_token=None if spaces == "bytes" else "<unk>",
        chat_template=chat_template,
    )
    tokenizer.save_pretrained(folder)
    if stops is not None:
        content = json.dumps({"eos_token_id": list(stops)})
        (folder / "generation_config.json").write_text(content, "utf-8")
    return folder
