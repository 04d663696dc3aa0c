"""`dualsys report`: runs, benchmarks and calibrations as one self-contained page."""
