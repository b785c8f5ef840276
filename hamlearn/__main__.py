"""`python -m hamlearn`."""

from hamlearn.cli import main

main()
