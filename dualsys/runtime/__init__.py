"""Runtimes: both systems over the same cores, in virtual time or on the wall clock."""
