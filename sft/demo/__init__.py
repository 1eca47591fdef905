"""Synthetic training data with planted faults, a tokenizer of its own, and a blend to run on it."""

from sft.demo._write import write_demo

__all__ = ["write_demo"]
