"""Worlds: simulators behind one contract, experts, evaluation and metrics."""
