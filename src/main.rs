//! The `gpu-assay` command.

fn main() {}
