"""`python -m reasoner` is the command `reasoner`."""

from reasoner.cli.main import main

if __name__ == "__main__":
    main()
