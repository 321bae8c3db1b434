"""Who may talk to the server: the web configuration, TLS, credentials and permissions."""
