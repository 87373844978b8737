"""`python -m semeval_kit`."""

from semeval_kit.cli import start

start()
