"""Reading the files of a source, of several kinds and formats, as rows of conversations.

Nothing is repaired here beyond the shape: texts stay as they are, and what is no conversation comes
back as an unreadable record, with the reason and the original text.
"""

from __future__ import annotations

from sft.sources._chunks import Chunk, read_chunks, row_id
from sft.sources._files import InputFile, input_files

__all__ = ["Chunk", "InputFile", "input_files", "read_chunks", "row_id"]
