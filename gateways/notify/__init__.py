"""How members are told: webhooks, web push, and mail, SMS and the rest."""
