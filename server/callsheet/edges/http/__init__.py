"""HTTP: the client, response streams, and which addresses may be connected to."""
