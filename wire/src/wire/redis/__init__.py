"""Redis: connections, pipelining, keys, scripts and the server's clock. Nothing else opens a socket."""
