"""The command ``pushgate`` as ``python -m pushgate``."""

from pushgate.cli import main

if __name__ == "__main__":
    main()
