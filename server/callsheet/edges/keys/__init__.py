"""Keys, passphrases and passkeys."""
