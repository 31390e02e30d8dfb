"""The embedded engine: the shell around the journal core, in one process, on SQLite."""
