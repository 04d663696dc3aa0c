"""The benchmark: a table of variants over scenarios and seeds, paired, resumable, anywhere."""
