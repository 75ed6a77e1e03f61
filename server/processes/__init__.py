"""Several processes behind one port: who starts and watches them, and how they end."""
