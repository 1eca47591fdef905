"""The data report: what became of every row between the sources and the packs, as one page."""

from sft.data_report._page import render_data_report

__all__ = ["render_data_report"]
