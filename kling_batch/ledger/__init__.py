"""The SQLite file that records every paid step: the only SQL of the program."""
