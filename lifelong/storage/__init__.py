"""What lies on disk: files that are whole or not there, folders held by one, checkpoints."""
