"""From a fresh machine to a running Adrelay: private servers, a supervisor, a demonstration."""
