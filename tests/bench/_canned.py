"""An endpoint without a wire: each request gets a fixed good reply at once.

It fills ledgers quickly, and what a run on it takes is the scoring path alone.
"""

from __future__ import annotations

import asyncio
import json

from judge.endpoint import ChatEndpoint

_VERDICT = {"evidence": [], "rationale": "It names what was asked for. " * 5, "level": 3}
_REPLY = json.dumps({
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 0,
    "model": "judge",
    "choices": [{
        "index": 0,
        "message": {"role": "assistant", "content": json.dumps(_VERDICT), "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }],
    "usage": {
        "prompt_tokens": 700, "completion_tokens": 60, "total_tokens": 760,
        "prompt_tokens_details": {"cached_tokens": 400},
    },
}).encode()  # fmt: skip
SPEC = "http://127.0.0.1:1/v1#judge"


class CannedEndpoint(ChatEndpoint):
    """Everything of an endpoint but the sending."""

    async def _send(self, body: bytes) -> tuple[int, bytes]:
        await asyncio.sleep(0)
        return 200, _REPLY
