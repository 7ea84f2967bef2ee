"""Many runs of one command: planned, watched, searched."""
