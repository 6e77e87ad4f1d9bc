"""Work that is done later: the job queue in PostgreSQL, and what runs on it."""
