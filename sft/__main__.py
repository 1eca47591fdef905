"""``python -m sft``, which launchers start."""

import sys

from sft.cli import main

# DeepSpeed's launcher puts this before all else; the environment says the same.
sys.argv[1:] = [word for word in sys.argv[1:] if not word.startswith("--local_rank=")]
main()
