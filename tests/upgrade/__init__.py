"""Two releases at work side by side: upgrade, downgrade and upgrade again under load."""
