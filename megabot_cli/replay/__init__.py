"""Playing a recording back and comparing what comes."""
