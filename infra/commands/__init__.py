"""The command line ``adrelay``: what each command does; ``cli`` reads its arguments."""
