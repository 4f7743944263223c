"""The seam to a gateway: what its module provides, and how its replies are read."""
