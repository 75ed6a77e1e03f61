"""What the server bears beside plain edits: crowds, large documents, idle sockets, long runs."""
