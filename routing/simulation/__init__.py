"""The house played through in memory: the same dispatcher, with a ledger, a turnstile and a clock of its own."""
