"""A run: put together, carried out, watched, saved."""
