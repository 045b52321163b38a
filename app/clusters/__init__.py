"""The map of all documents and the cluster that is looked at."""
