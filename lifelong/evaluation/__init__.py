"""The accuracy matrix, metrics as pure functions of it, tables, figures and the report."""
