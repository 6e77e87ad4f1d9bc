"""Files of other systems as cost events: pure readers that touch nothing but the file."""

from costledger.producers.importers.focus import FocusBill, FocusReport, read_focus
from costledger.producers.importers.llm_trace import LlmTrace, read_trace, sample_trace
from costledger.producers.importers.rows import ImportRowError

__all__ = [
    "FocusBill",
    "FocusReport",
    "ImportRowError",
    "LlmTrace",
    "read_focus",
    "read_trace",
    "sample_trace",
]
