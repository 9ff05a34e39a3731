"""A figure as bytes, or as a piece of a page."""

from __future__ import annotations

import io
import re

from matplotlib.figure import Figure

from .style import CSS, styled


@styled()
def render(figure: Figure, kind: str = "png") -> bytes:
    """The figure as a file of this kind (png, svg, pdf, ...); the same bytes each time."""
    buffer = io.BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(buffer, format=kind, dpi=160, metadata=undated.get(kind))
    return buffer.getvalue()


@styled()
def inline_svg(figure: Figure, name: str) -> str:
    """An <svg> for a page: no outside reference, its own identifiers, colors as CSS variables."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Several pictures share one page, where an identifier may occur only once.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for color, variable in CSS.items():
        text = text.replace(color, f"var({variable})")
    width = round(figure.get_size_inches()[0] * 50)
    return re.sub(
        r'<svg .*?viewBox="(.*?)".*?>',
        rf'<svg viewBox="\1" style="min-width: {width}px" aria-hidden="true">',
        text,
        count=1,
        flags=re.DOTALL,
    )
