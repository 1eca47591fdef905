"""Keeps what a model will be judged by out of what it learns.

Rows are compared with the questions and the references of question sets, by runs of tokens (see
`sft.words`: case, width, punctuation and white space do not count). Texts are measured in words; a
character of a script without spaces is half a word. With windows of n words:

============================================  ==================================================
text                                          overlap
============================================  ==================================================
question or reference of at least n words     any window of n words in a row, in any turn
shorter question of at least 4 words          all of it in a row, in a user's or a system's turn
still shorter question                        a user's turn that says just this
shorter reference                             none
============================================  ==================================================

Two kinds of windows do not count: those of an instruction with which three or more questions of a
set begin or end, each going on with at least 4 words of its own (those words are then looked for
instead), and those of a reference that are mostly numbers.
"""

from __future__ import annotations

from sft.decontamination._index import ContaminationIndex, contamination_index
from sft.decontamination._scan import decontaminate

__all__ = ["ContaminationIndex", "contamination_index", "decontaminate"]
