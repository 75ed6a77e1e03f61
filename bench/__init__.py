"""The benchmark: the path of an edit, over real sockets, against a server as it is deployed."""
