"""What is missing or wrong in an installation, and what the gateways answer for free."""
