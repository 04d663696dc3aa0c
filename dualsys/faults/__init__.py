"""Declared faults: what is made to go wrong in a realtime run, where, how and when."""
