"""`dualsys doctor`: what this machine has, what it lacks, and one remedy for each lack."""
