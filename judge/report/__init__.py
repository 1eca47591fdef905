"""The report of a run: the same content as one HTML file and as JSON."""

from judge.report._data import build_report, build_summary
from judge.report._html import render_html
from judge.report._marking import visible
from judge.report._page import content_security_policy, page_environment, page_style
from judge.report._writing import Written, write_page

__all__ = [
    "Written",
    "build_report",
    "build_summary",
    "content_security_policy",
    "page_environment",
    "page_style",
    "render_html",
    "visible",
    "write_page",
]
