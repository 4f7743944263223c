"""What is known of the gateways' models: cards, how fact files are read, and what a clip costs."""
