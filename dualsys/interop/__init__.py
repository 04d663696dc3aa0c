"""Servers and clients of other stacks: openpi, GR00T, LeRobot."""
