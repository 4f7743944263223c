"""What is known of the gateways' models: cards, the rules of their facts, and prices."""
