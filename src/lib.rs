//! Finds out what a GPU machine really does and plans with those numbers.
