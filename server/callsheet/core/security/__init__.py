"""What may be shown and which addresses may be used."""
