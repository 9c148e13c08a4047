"""What a partner's people and programs can ask: their offers, themselves, their team, and what is new."""
