"""The composition root: sockets, REST, login, configuration, metrics and the web console."""
