"""The push client. Its public names are those of :mod:`pushgate`."""
