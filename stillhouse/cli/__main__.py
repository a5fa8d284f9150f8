"""`python -m stillhouse.cli`, for where the command isn't on the path."""

from stillhouse.cli import main

main()
