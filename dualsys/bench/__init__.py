"""Closed-loop evaluation: one configuration, or a table of them, paired, resumable, anywhere."""
