"""`python -m lifelong.evaluate`: a run's network, measured."""

from lifelong.finished.evaluate import main

if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
