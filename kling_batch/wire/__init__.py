"""HTTP requests: one protocol, a fast implementation on sockets, one over httpx. Knows no fal."""
