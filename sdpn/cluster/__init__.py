"""Where jobs run. Imported by steps/ and the command line alone."""
