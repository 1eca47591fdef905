"""``vllm:`` and ``hf:`` SPECs: models that are started for the length of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote

from judge.checkpoints import ChatTemplate, chat_template, fingerprint, require_model
from judge.errors import UsageError
from judge.resources import shipped

Engine: TypeAlias = Literal["vllm", "hf"]
PLAIN_TEMPLATE = "prompts/answering/plain_chat.jinja"
_OPTIONS: Mapping[Engine, Mapping[str, str]] = {
    "vllm": {
        "tp": "GPUs per copy of the model (tensor parallel size), e.g. 2",
        "dp": "copies of the model (data parallel size), e.g. 4",
        "gpu_memory_utilization": "share of each GPU's memory, e.g. 0.9",
        "max_model_len": "tokens of prompt and reply together, e.g. 8192",
        "dtype": "auto, bfloat16, float16 or float32",
        "quantization": "a method that vLLM knows, e.g. fp8",
        "revision": "branch, tag or commit of a model on the hub",
        "chat_template": "a Jinja file to use instead of the model's own",
        "ready_timeout": "seconds that the server may take to start, e.g. 1800",
    },
    "hf": {
        "max_model_len": "tokens of prompt and reply together, e.g. 4096",
        "dtype": "auto, bfloat16 or float32",
        "chat_template": "a Jinja file to use instead of the model's own",
        "batch": "requests that are generated together, e.g. 8",
        "ready_timeout": "seconds that the server may take to start, e.g. 600",
    },
}
_DTYPES: Mapping[Engine, tuple[str, ...]] = {
    "vllm": ("auto", "bfloat16", "float16", "float32"),
    "hf": ("auto", "bfloat16", "float32"),
}
_BATCH = 8
_READY_S: Mapping[Engine, float] = {"vllm": 1200.0, "hf": 600.0}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NAME = re.compile(r"[A-Za-z0-9][\w./-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model that we serve ourselves, as a SPEC describes it.

    ``reference`` is the folder or hub id as given; it is also the model's name in requests.
    ``identity`` holds what fixes the outputs (the folder's fingerprint, data type, length,
    quantisation, revision, a chat template other than the model's own) and nothing of how the
    model is spread over a machine.
    """

    engine: Engine
    reference: str
    folder: Path | None
    """None for a model on the hub."""
    identity: str
    template: ChatTemplate
    template_file: Path | None
    """None where the server finds the template by itself, in the model's folder or on the hub."""
    tp: int = 1
    dp: int = 1
    batch: int = 8
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    revision: str | None = None
    ready_timeout: float


def parse_local(spec: str) -> LocalModel:
    """Read ``vllm:PATH_OR_HUB_ID[?OPTION=VALUE&...]`` or ``hf:PATH[?...]``.

    Raises UsageError for an option that does not exist (listing those that do), a value that
    cannot be, and a model that is not there or not whole. A value may be percent-encoded.
    """
    scheme, _, rest = spec.partition(":")
    engine: Engine = "vllm" if scheme == "vllm" else "hf"
    reference, _, query = rest.partition("?")
    options = _Options(spec, engine, query)
    dtype = options.choice("dtype", _DTYPES[engine])
    max_model_len = options.count("max_model_len")
    quantization, revision = options.name("quantization"), options.name("revision")
    given = options.file("chat_template")
    tp, dp, batch = options.count("tp"), options.count("dp"), options.count("batch")
    memory = options.number("gpu_memory_utilization", most=1.0)
    ready_timeout = options.number("ready_timeout", most=86400.0)

    folder = _folder(engine, reference, spec)
    if folder is not None and revision is not None:
        raise UsageError(f"{spec}: a folder has no revision; leave that option out.")
    template, template_file = _template(given, folder)
    outputs = {
        "chat_template": None if template_file is None else str(template.sha256)[:12],
        "dtype": dtype,
        "max_model_len": max_model_len,
        "quantization": quantization,
        "revision": revision,
    }
    marked = f"{engine}:{reference}" + ("" if folder is None else f"@{fingerprint(folder)}")
    listed = "&".join(f"{name}={value}" for name, value in outputs.items() if value is not None)
    return LocalModel(
        engine=engine,
        reference=reference,
        folder=folder,
        identity=f"{marked}?{listed}" if listed else marked,
        template=template,
        template_file=template_file,
        tp=tp or 1,
        dp=dp or 1,
        batch=batch or _BATCH,
        gpu_memory_utilization=memory,
        max_model_len=max_model_len,
        dtype=dtype,
        quantization=quantization,
        revision=revision,
        ready_timeout=ready_timeout or _READY_S[engine],
    )


class _Options:
    """The options of a SPEC, each read as what it has to be."""

    def __init__(self, spec: str, engine: Engine, query: str) -> None:
        self._spec = spec
        self._known = _OPTIONS[engine]
        self._values: dict[str, str] = {}
        for part in filter(None, query.split("&")):
            name, equals, value = part.partition("=")
            if name not in self._known or not equals:
                listed = "; ".join(f"{known}: {what}" for known, what in self._known.items())
                raise UsageError(f"{spec}: unknown option {part}. Known options: {listed}.")
            if name in self._values:
                raise UsageError(f"{spec}: the option {name} is given twice.")
            self._values[name] = unquote(value)

    def count(self, name: str) -> int | None:
        text = self._values.get(name)
        if text is None:
            return None
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise self._wrong(name, text)
        return int(text)

    def number(self, name: str, most: float) -> float | None:
        text = self._values.get(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value <= most:
            raise self._wrong(name, text)
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        text = self._values.get(name)
        if text is not None and text not in choices:
            raise self._wrong(name, text)
        return text

    def name(self, name: str) -> str | None:
        text = self._values.get(name)
        if text is not None and not _NAME.fullmatch(text):
            raise self._wrong(name, text)
        return text

    def file(self, name: str) -> Path | None:
        text = self._values.get(name)
        if text is None:
            return None
        path = Path(text).expanduser()
        if not path.is_file():
            raise UsageError(f"{self._spec}: {name}: no such file: {text}.")
        return path

    def _wrong(self, name: str, text: str) -> UsageError:
        return UsageError(f"{self._spec}: {name}: found {text}, expected {self._known[name]}.")


def _folder(engine: Engine, reference: str, spec: str) -> Path | None:
    """The model's folder; None for what can only be a hub id. Raises UsageError otherwise."""
    path = Path(reference).expanduser()
    if reference and path.exists():
        require_model(path, spec)
        return path
    # ORG/NAME beside an existing folder ORG is a path whose end is wrong, not a model on the hub.
    if engine == "vllm" and _HUB_ID.fullmatch(reference) and not path.parent.exists():
        return None
    forms = "a model's folder" + (" or a hub id (ORG/NAME)" if engine == "vllm" else "")
    raise UsageError(f"{spec}: there is no {reference or 'model named'}; expected {forms}.")


def _template(given: Path | None, folder: Path | None) -> tuple[ChatTemplate, Path | None]:
    """The chat template that will be used, and its file unless it is the model's own.

    A model without one gets a plain one of ours: the contents of the messages, a blank line after
    each, behind the tokenizer's token for the beginning of a text, if it has one.
    """
    if given is not None:
        file = given.resolve()
        return ChatTemplate(str(given), file.read_text("utf-8")), file
    if folder is None:
        return ChatTemplate("the model's own, on the hub; not read", None), None
    if (own := chat_template(folder)) is not None:
        return own, None
    plain = shipped(PLAIN_TEMPLATE)
    return ChatTemplate(f"plain: {PLAIN_TEMPLATE}", plain.read_text("utf-8")), plain
