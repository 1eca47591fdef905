"""The root of the command line: the application, its version and its help."""

from __future__ import annotations

from judge.terminal import Version, make_app

app = make_app("sft")


@app.callback()
def root(version: Version = False) -> None:
    """Make training data that can be answered for, and fine-tune models on it with DeepSpeed.

    Start with `sft demo DIR`, which writes synthetic sources, a small tokenizer and a commented
    blend.yaml; then `sft blend DIR/blend.yaml`; then `sft train CONFIG`, which leaves a checkpoint
    per epoch.

    Exit codes: 0 done, 2 usage or input error, 70 a defect of ours, 130 interrupted (run the same
    command again to go on).
    """
