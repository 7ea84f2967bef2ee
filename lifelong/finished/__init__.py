"""Runs read back from their folders: load, evaluate, export."""
