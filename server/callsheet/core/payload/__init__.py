"""The request body: built from a shot, recognised from any documented shape, validated for one card."""
