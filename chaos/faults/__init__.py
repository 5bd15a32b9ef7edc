"""The kinds of fault: one file a kind, named after it; a leading underscore marks what several kinds share."""
