"""Who may come in, on a real ledger."""
