"""PostgreSQL as the team's only state. Nothing of local mode imports this room."""
