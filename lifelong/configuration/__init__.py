"""Configurations: composed, completed, checked, read back; nothing here imports torch."""
