"""The command as `python -m luna`, for where it is not on the PATH."""

from luna.cli.main import main

if __name__ == "__main__":
    main()
