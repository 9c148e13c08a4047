"""Other people's Salesforce clients, unmodified, against the sandbox: `python -m tests.fidelity`."""
