"""SVG as text: every value is escaped here, and nowhere else."""

from __future__ import annotations

from html import escape
from typing import TypeAlias

from f1mon_core.text import printable

Value: TypeAlias = str | float | None


class Svg(str):
    """SVG text that is safe to stand in HTML as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """As templates ask for it."""
        return str(self)

    def _repr_svg_(self) -> str:
        """As notebooks ask for it."""
        return str(self)


def shown(value: Value) -> str:
    """A number to a tenth of a pixel, and a text without what turns lines around or is refused by XML."""
    if isinstance(value, float | int):
        tenths = f"{value:.1f}".removesuffix(".0")
        return "0" if tenths == "-0" else tenths
    return printable(value or "")


def tag(name: str, *children: Svg | None, **attributes: Value) -> Svg:
    """An element. `class_` is class, `font_size` font-size; an attribute of None is left out, and so is a child."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(shown(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(child for child in children if child is not None)
    return Svg(f"<{name}{given}>{inside}</{name}>" if inside else f"<{name}{given}/>")


def words(text: str) -> Svg:
    """Text between elements."""
    return Svg(escape(printable(text)))


def title(text: str) -> Svg:
    """What a mark says when it is pointed at, and to who cannot see it."""
    return tag("title", words(text))


def label(x: float, y: float, text: str, class_: str = "tick", anchor: str = "start") -> Svg:
    """A text in the picture."""
    return tag("text", words(text), x=x, y=y, class_=class_, text_anchor=anchor)


def linked(href: str | None, *marks: Svg) -> Svg:
    """Marks that lead somewhere; off the way of the tab key, for the table beside the picture has the same links."""
    return tag("a", *marks, href=href, tabindex="-1") if href else Svg("".join(marks))


def picture(width: float, height: float, said: str, *children: Svg, class_: str = "picture") -> Svg:
    """A whole picture, which says in words what it shows.

    It is a group and no image: images may hold no links.
    """
    return tag(
        "svg",
        title(said),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {shown(width)} {shown(height)}",
        width=width,
        height=height,
        role="group",
        aria_label=said,
        class_=class_,
    )
