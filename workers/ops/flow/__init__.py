"""The flow of events as figures, picture and charts."""
