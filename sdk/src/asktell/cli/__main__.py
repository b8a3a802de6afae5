"""`python -m asktell.cli`."""

from asktell.cli import main

main()
