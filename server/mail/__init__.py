"""Mail: what is written to people, and how it gets to them."""
