"""What an account takes along: an archive of all it has."""
