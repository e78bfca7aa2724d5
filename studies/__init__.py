"""Study definitions that ship with zeroin and run by name."""
