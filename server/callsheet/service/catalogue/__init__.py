"""What the use cases know of models: how they rank for a shot, and refreshing what the gateways publish."""
