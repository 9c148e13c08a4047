"""What operators can ask as JSON."""
