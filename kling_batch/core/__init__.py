"""The nouns of the program: jobs, states, outcomes, events, quantities, text. No I/O."""
