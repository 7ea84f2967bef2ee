"""Runs side by side: read, grouped, averaged, tested, drawn."""
