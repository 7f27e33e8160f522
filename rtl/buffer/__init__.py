"""On-chip buffers between the streams of a lane and its matrix unit."""
