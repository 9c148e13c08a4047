"""The org's HTTP side: OAuth, SOAP, REST resources, and the doors for tests."""
