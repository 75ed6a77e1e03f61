"""Files: how they come in, what is made of them, and how they go out again."""
