"""The supervisor: keeps the processes of a run alive, and ends them all."""
