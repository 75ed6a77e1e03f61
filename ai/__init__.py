"""Memo, the assistant: retrieval, embeddings, transcription and voice plug in here."""
