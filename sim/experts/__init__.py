"""Experts that demonstrate: they read the simulator's state, never the camera."""
