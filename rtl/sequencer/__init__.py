"""The sequencer: a call becomes jobs for the lanes, and requests to memory, in one order."""
