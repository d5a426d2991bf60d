//! How many rows go into one forward.
