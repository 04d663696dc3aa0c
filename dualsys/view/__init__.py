"""What a run looks like in Rerun, from its log: while it goes on, or afterwards."""
