"""What photogrammetry programs and scanning apps write, one module a format; `registry` knows them all."""
