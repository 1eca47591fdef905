"""A tree in which to look at a page, and a parser that fails on bad nesting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "line", "use", "path", "circle", "link", "img", "hr", "wbr"}


@dataclass
class Node:
    """An element of the parsed page."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    def text(self) -> str:
        """All text within, as a browser's textContent."""
        return "".join(c if isinstance(c, str) else c.text() for c in self.children)

    def squeezed(self) -> str:
        """The text with every run of white space one space."""
        return " ".join(self.text().split())

    def walk(self) -> Iterator[Node]:
        """This element and all within, in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag: str, name: str = "") -> list[Node]:
        """The elements of a tag, and of a class where one is named."""
        return [
            n
            for n in self.walk()
            if n.tag == tag and (not name or name in (n.attributes.get("class") or "").split())
        ]

    def id(self, name: str) -> Node:
        """The one element of that id."""
        (found,) = [n for n in self.walk() if n.attributes.get("id") == name]
        return found


class _Builder(HTMLParser):
    """Builds the tree; fails on a tag that closes what is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Node:
    """The page as a tree."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.open == [builder.root], "an element is not closed"
    return builder.root
