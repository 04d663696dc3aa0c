"""Engines: how a network runs on the machine at hand, behind one interface."""
