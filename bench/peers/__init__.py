"""Other servers for documents of Yjs, installed for the benchmark and put under the same load."""
