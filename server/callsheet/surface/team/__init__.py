"""What a team reaches over the network. Only team mode imports this package."""
