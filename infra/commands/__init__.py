"""What a person starts at the command line."""
