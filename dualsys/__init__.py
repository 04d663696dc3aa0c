"""dualsys: a fast reactive System 1 and a slow deliberate System 2 for robots and vehicles.

Importing this package is cheap (no torch, no simulator); see docs/ for the data flow.
"""

__version__ = "0.1.0"
