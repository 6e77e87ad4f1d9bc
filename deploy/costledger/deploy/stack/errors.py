"""Errors of the local stack.

StackError                 anything that went wrong with a local service
├── ProgramMissing         a program or wheel is not installed; says what to install
└── ServiceFailed          a service did not start, or ended before it was ready; holds the end of its log
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["ProgramMissing", "ServiceFailed", "StackError"]


class StackError(RuntimeError):
    """A local service cannot be started, reached or stopped."""


class ProgramMissing(StackError):
    """A program that a service needs is not on this machine.

    `program` is its name, `remedy` says what to install.
    """

    def __init__(self, program: str, remedy: str) -> None:
        super().__init__(program, remedy)
        self.program = program
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.program} was not found: {self.remedy}"


class ServiceFailed(StackError):
    """A service did not become ready; `log_tail` holds the last lines that it wrote."""

    def __init__(self, service: str, reason: str, log_path: Path, log_tail: str) -> None:
        super().__init__(service, reason, log_path, log_tail)
        self.service = service
        self.reason = reason
        self.log_path = log_path
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"{self.service} {self.reason}; log {self.log_path}:\n{self.log_tail}"
