"""`python -m costledger`: the same as the command `costledger`."""

from costledger.deploy.cli import main

if __name__ == "__main__":
    main()
