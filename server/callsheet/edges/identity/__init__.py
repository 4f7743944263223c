"""Who signed in, and what a token proves: the identity provider's side of team mode. Local mode never imports this.

Nothing here stores anything, and no token, code or secret is part of a message. joserfc checks signatures.
"""
