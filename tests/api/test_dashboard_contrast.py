"""The colours of the dashboard: text is readable on its ground in light and in dark (WCAG 2.2: 4.5, shapes 3)."""

from __future__ import annotations

import re

import pytest

from costledger.api.dashboard.rendering import static_bytes

CSS = static_bytes("dashboard.css").decode()
TEXT_ON_GROUND = [
    *((text, ground) for text in ("text", "muted") for ground in ("ground", "surface", "raised")),
    *((text, ground) for text in ("accent", "accent-strong") for ground in ("ground", "surface")),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("text", "info-soft"),
    *((name, f"{name}-soft") for name in ("good", "warning", "bad")),
    *((name, "surface") for name in ("good", "warning", "bad")),
]
SHAPE_ON_GROUND = [
    *((f"s{number}", "surface") for number in range(1, 9)),
    *((f"fill-{name}", "surface") for name in ("calm", "warning", "over")),
    ("control", "surface"),
    ("accent", "surface"),
    ("accent", "ground"),
]


def tokens(scheme: str) -> dict[str, str]:
    """The colours of a scheme by name; the dark ones lie over the light ones."""
    blocks = re.findall(r":root\s*\{([^}]*)\}", CSS)
    assert len(blocks) == 2, "one set of tokens, and one for the dark"
    found = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6});", blocks[0]))
    return found | (dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6});", blocks[1])) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_is_21() -> None:
    """The measure itself."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND)
def test_text_is_readable(scheme: str, text: str, ground: str) -> None:
    """4.5 or more."""
    colours = tokens(scheme)
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("shape", "ground"), SHAPE_ON_GROUND)
def test_shapes_are_visible(scheme: str, shape: str, ground: str) -> None:
    """3 or more."""
    colours = tokens(scheme)
    assert contrast(colours[shape], colours[ground]) >= 3


def test_colours_come_from_tokens_alone() -> None:
    """Outside the tokens the sheet names no colour of its own, and fetches nothing."""
    rest = re.sub(r":root\s*\{[^}]*\}", "", CSS)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;\s])", rest) == []
    assert "url(" not in CSS
    assert "@import" not in CSS
