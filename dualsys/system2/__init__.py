"""System 2: planners that think when thinking pays."""
