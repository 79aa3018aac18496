"""How the API reads and writes HTTP; knows no resource."""
