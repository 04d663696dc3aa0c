"""`python -m dualsys` is the same as `dualsys`."""

from dualsys.cli import main

if __name__ == "__main__":
    main()
