"""Judging: metrics, intervals, the verdict, the report."""
