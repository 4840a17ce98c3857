"""The review server: the gallery on loopback, where people give verdicts. Pays nothing."""
