"""`python -m lifelong.export`: a run, for other programs."""

from lifelong.finished.export import main

if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
