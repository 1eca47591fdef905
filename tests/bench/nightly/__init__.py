"""The night run, simulated: ``python -m tests.bench.nightly [FOLDER]``.

FOLDER, if given, holds ``topical_chat.parquet`` in the long format that docs/calibration.md
describes: answers that were judged about twenty times each.
"""
