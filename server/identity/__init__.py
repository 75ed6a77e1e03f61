"""Accounts: the ways into one, the devices signed in to it, and its end."""
