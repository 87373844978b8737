"""The one error that people see: what went wrong, where, and what to do."""

from __future__ import annotations

import click


class KitError(click.ClickException):
    """An error with a remedy; click prints it without a traceback and exits with 1."""
