"""Shared test helpers: engine on the emulator, typing user, sockets, processes, faults."""
