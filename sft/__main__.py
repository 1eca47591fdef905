"""``python -m sft``, which launchers start."""

from sft.cli import main

main()
