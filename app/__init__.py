"""The shell of the front end."""
