"""PostgreSQL: accounts, memories, and the log of updates."""
