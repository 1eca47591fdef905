"""Models that are started for the length of a run: ``vllm:`` and ``hf:`` SPECs."""

from judge.checkpoints import ChatTemplate
from judge.local_models._serving import chat_template_of, serving

__all__ = ["ChatTemplate", "chat_template_of", "serving"]
