"""`python -m lifelong.compare`: runs side by side."""

from lifelong.comparison.compare import main

if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
