"""SQLite: the records of the journal core as rows, each with its checksum, in one directory that one process owns."""
