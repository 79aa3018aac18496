"""What each worker is given to do in the tests that kill it: a module for each worker."""
