"""System 1: the small reactive policy that answers on every control tick."""
