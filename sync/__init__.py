"""Rooms, the log they keep in step with, and what they know of a document."""
