"""A report for people (mail, terminal) and for machines (JSON, CSV), all from the same content."""

from costledger.sinks.reports.rendering.render import FORMATS, MEDIA_TYPES, Format, render, subject

__all__ = ["FORMATS", "MEDIA_TYPES", "Format", "render", "subject"]
