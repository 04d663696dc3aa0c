"""What would have come of it: recorded states reached again, and other ways tried from there."""
