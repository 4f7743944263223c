"""Fake gateways on loopback: free, with real HTTP and real MP4 files. See `server`."""
