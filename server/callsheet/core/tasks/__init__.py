"""Sheets and tasks: their records, their states, and when a gateway is asked again."""
