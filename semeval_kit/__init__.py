"""From SemEval CSV files to a zip that Codabench accepts, with the score known beforehand."""

__version__ = "0.1.0"
