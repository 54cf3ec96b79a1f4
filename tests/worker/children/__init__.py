"""Small programs that speak as an engine does: `--spec FILE --out FOLDER --events-fd N`."""
