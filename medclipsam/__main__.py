"""`python -m medclipsam` is the command line."""

from __future__ import annotations

from medclipsam.cli import main

if __name__ == "__main__":
    main()
